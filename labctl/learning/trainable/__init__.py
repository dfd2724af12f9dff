"""Networks whose products are somebody else's: what is trained with every weight matrix on an array."""

from labctl.learning.trainable.network import Factors, Lesson, Products, TrainableNetwork

__all__ = ["Factors", "Lesson", "Products", "TrainableNetwork"]
