"""What PyVISA imports for `@labctl`."""

from labctl.simulated_instruments.servers.visa_backend import LabctlVisaLibrary

WRAPPER_CLASS = LabctlVisaLibrary
