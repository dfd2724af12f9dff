/* A test board in a few lines, to try the reference implementation and labctl's driver against each other:
 *
 *     demo_board                on standard input and output, whatever these are (a pipe, a socket, a terminal)
 *     demo_board /dev/ttyS1     on a serial port, as it is configured
 *     demo_board --pty          on a pseudo-terminal, whose name it prints: no cable is needed
 *
 * Its array of 32 x 32 cells is a toy without noise: FORM gives a cell 5 uS, SET adds 2 uS for each volt, RESET takes
 * as much away. Frames carry 1 KiB at most, as on a small microcontroller. Its clock is virtual.
 */
#define _XOPEN_SOURCE 700

#include "labframe.h"

#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define ROWS 32u
#define COLS 32u
#define CELLS (ROWS * COLS)
#define MAX_PAYLOAD 1024u
#define MAX_CODE 16383.0
#define DAC_STEP (5.0 / 65536.0)

static const double MAX_VOLTS[3] = {4.5, 4.0, 4.0};
static const double MIN_READ_VOLTAGE = 0.05, MAX_READ_VOLTAGE = 0.5, MAX_CURRENT_RANGE = 256e-6, MAX_GATE = 3.3;
static const double MIN_WIDTH = 10e-9, MAX_WIDTH = 1e-3, PULSE_TIME = 1e-6, READ_TIME = 4e-6;
static const double COLDEST = 250.0, HOTTEST = 600.0;

typedef struct {
    int out;
    uint64_t boot;
    uint64_t sequence;
    uint32_t digest; /* of the last batch, to know it again */
    uint64_t batch_work; /* its number as a piece of work */
    uint64_t work; /* number of the last piece of work */
    double ended;
    uint8_t kept[MAX_PAYLOAD]; /* its answer */
    size_t kept_size;
    double time;
    double read_voltage, current_range, temperature;
    int output;
    double conductance[CELLS];
    uint32_t pulses[CELLS], reads[CELLS];
} demo_board;

static int16_t refuse(const char **why, int16_t number, const char *text)
{
    *why = text;
    return number;
}

static int16_t wrong_size(const char **why) { return refuse(why, -161, "the payload has not the size of its kind"); }

static void begin_session(void *state)
{
    demo_board *board = state;

    board->read_voltage = 0.2;
    board->current_range = 16e-6;
    board->output = 0;
}

static int16_t hello(void *state, labframe_request *request, labframe_answer *answer, const char **why)
{
    demo_board *board = state;

    labframe_get_u16(request);
    labframe_get_u64(request);
    if (!labframe_is_read(request))
        return wrong_size(why);
    labframe_put_u16(answer, LABFRAME_VERSION);
    labframe_put_u32(answer, MAX_PAYLOAD);
    labframe_put_u64(answer, board->boot);
    labframe_put_u64(answer, board->sequence);
    labframe_put_u32(answer, ROWS);
    labframe_put_u32(answer, COLS);
    labframe_put_f8(answer, DAC_STEP);
    labframe_put_f8(answer, 0.0);
    labframe_put_u8(answer, 16);
    labframe_put_f8(answer, MIN_READ_VOLTAGE);
    labframe_put_f8(answer, MAX_READ_VOLTAGE);
    labframe_put_f8(answer, MAX_CURRENT_RANGE);
    labframe_put_f8(answer, PULSE_TIME);
    labframe_put_f8(answer, READ_TIME);
    labframe_put_f8(answer, MAX_VOLTS[0]);
    labframe_put_f8(answer, MAX_VOLTS[1]);
    labframe_put_f8(answer, MAX_VOLTS[2]);
    labframe_put_f8(answer, MAX_GATE);
    labframe_put_f8(answer, MIN_WIDTH);
    labframe_put_f8(answer, MAX_WIDTH);
    labframe_put_u8(answer, 1);
    labframe_put_text(answer, "labctl,DEMO-32,0,1.0");
    labframe_put_text(answer, "DEMO");
    labframe_put_text(answer, "toy");
    return 0;
}

static int is_within(double value, double low, double high)
{
    return value != value || (value >= low && value <= high);
}

static int16_t configure(void *state, labframe_request *request, labframe_answer *answer, const char **why)
{
    demo_board *board = state;
    double volts = labframe_get_f8(request), amps = labframe_get_f8(request), kelvins = labframe_get_f8(request);

    if (!labframe_is_read(request))
        return wrong_size(why);
    if (!is_within(volts, MIN_READ_VOLTAGE, MAX_READ_VOLTAGE) || !is_within(amps, 1e-9, MAX_CURRENT_RANGE)
        || !is_within(kelvins, COLDEST, HOTTEST))
        return refuse(why, -222, "a setting is out of its range");
    if (volts == volts)
        board->read_voltage = volts;
    if (amps == amps)
        board->current_range = amps;
    if (kelvins == kelvins)
        board->temperature = kelvins;
    labframe_put_f8(answer, board->current_range / board->read_voltage / MAX_CODE);
    labframe_put_f8(answer, 0.0);
    labframe_put_u8(answer, 14);
    labframe_put_f8(answer, board->read_voltage);
    labframe_put_f8(answer, board->current_range);
    labframe_put_f8(answer, board->temperature);
    return 0;
}

static int16_t output(void *state, labframe_request *request, labframe_answer *answer, const char **why)
{
    uint8_t on = labframe_get_u8(request);

    (void)answer;
    if (!labframe_is_read(request))
        return wrong_size(why);
    ((demo_board *)state)->output = on != 0;
    return 0;
}

static int16_t tell_state(void *state, labframe_request *request, labframe_answer *answer, const char **why)
{
    const demo_board *board = state;

    if (!labframe_is_read(request))
        return wrong_size(why);
    labframe_put_u64(answer, board->sequence);
    labframe_put_u8(answer, (uint8_t)board->output);
    labframe_put_f8(answer, board->time);
    labframe_put_f8(answer, board->read_voltage);
    labframe_put_f8(answer, board->current_range);
    labframe_put_f8(answer, board->temperature);
    return 0;
}

static int16_t last(void *state, labframe_request *request, labframe_answer *answer, const char **why)
{
    const demo_board *board = state;

    if (!labframe_is_read(request))
        return wrong_size(why);
    labframe_put_u64(answer, board->work);
    labframe_put_u64(answer, board->sequence);
    labframe_put_f8(answer, board->ended);
    return 0;
}

static int16_t fetch(void *state, labframe_request *request, labframe_answer *answer, const char **why)
{
    const demo_board *board = state;
    uint64_t work = labframe_get_u64(request);

    if (!labframe_is_read(request))
        return wrong_size(why);
    if (work == 0 || work != board->work)
        return refuse(why, -230, "the answer of that work is not kept");
    labframe_put_bytes(answer, board->kept, board->kept_size);
    return 0;
}

/* A piece of work is done: what it answered, from `payload` on, can be fetched until the next one. */
static void keep(demo_board *board, const uint8_t *payload, const labframe_answer *answer)
{
    board->work++;
    board->ended = board->time;
    board->kept_size = (size_t)(answer->at - payload);
    memcpy(board->kept, payload, board->kept_size);
}

/* -- cells ----------------------------------------------------------------------------------------------------- */

typedef struct {
    uint8_t where; /* 0 all, 1 indexed, 2 masked */
    const uint8_t *list;
} selection;

static uint32_t number_at(const uint8_t *bytes, int size)
{
    uint32_t value = 0;

    while (size--)
        value = value << 8 | bytes[size];
    return value;
}

/* The selected cell from `from` on, for the `turn`-th; CELLS where there is none. */
static uint32_t next_cell(const selection *cells, uint32_t turn, uint32_t from)
{
    if (cells->where == 1)
        return number_at(cells->list + 4 * turn, 4);
    while (cells->where == 2 && from < CELLS && !(cells->list[from / 8] >> (7 - from % 8) & 1))
        from++;
    return from;
}

/* Whether they are `count`, strictly increasing and on the array. */
static int16_t check_cells(const selection *cells, uint32_t count, const char **why)
{
    uint32_t turn, from = 0;

    for (turn = 0; turn < count; turn++) {
        uint32_t cell = next_cell(cells, turn, from);

        if (cell >= CELLS)
            return refuse(why, -222, "a cell is not on the array");
        if (cell < from)
            return refuse(why, -224, "cells must be strictly increasing");
        from = cell + 1;
    }
    if (cells->where != 1 && next_cell(cells, 0, from) < CELLS)
        return refuse(why, -161, "more cells than codes");
    return 0;
}

static uint16_t reading(demo_board *board, uint32_t cell, double volts)
{
    double code = board->conductance[cell] * volts / board->current_range * MAX_CODE + 0.5;

    board->reads[cell]++;
    board->time += READ_TIME;
    return (uint16_t)(code < MAX_CODE ? code : MAX_CODE);
}

static void apply(demo_board *board, uint8_t operation, uint32_t cell, double volts)
{
    double *conductance = &board->conductance[cell];

    if (operation == 1)
        *conductance = 5e-6;
    else
        *conductance += (operation == 2 ? 2e-6 : -2e-6) * volts;
    if (*conductance < 0.0)
        *conductance = 0.0;
    board->pulses[cell]++;
}

static int16_t pulse(void *state, labframe_request *request, labframe_answer *answer, const char **why)
{
    demo_board *board = state;
    uint32_t digest = labframe_crc32(0, request->at, labframe_left(request));
    uint64_t sequence = labframe_get_u64(request);
    uint8_t operation = labframe_get_u8(request), verify = labframe_get_u8(request) & 1;
    selection cells = {labframe_get_u8(request), NULL};
    uint8_t reserved = labframe_get_u8(request);
    double width = labframe_get_f8(request), gate = labframe_get_f8(request);
    uint32_t count = labframe_get_u32(request), turn, from = 0;
    const uint8_t *codes;
    labframe_answer head;
    int16_t error;
    int is_next = sequence == board->sequence + 1;

    (void)reserved;
    if (operation < 1 || operation > 3 || cells.where > 2)
        return refuse(why, -224, "no such operation, or no such way to name cells");
    if (count > CELLS)
        return refuse(why, -161, "more codes than cells");
    cells.list = labframe_get_bytes(request, cells.where == 1 ? 4 * (size_t)count : cells.where == 2 ? (CELLS + 7) / 8 : 0);
    codes = labframe_get_bytes(request, 2 * (size_t)count);
    if (!labframe_is_read(request))
        return wrong_size(why);
    error = check_cells(&cells, count, why);
    if (error)
        return error;
    if (!board->output)
        return refuse(why, -221, "outputs are off");
    if (!(width >= MIN_WIDTH && width <= MAX_WIDTH && gate >= 0.0 && gate <= MAX_GATE))
        return refuse(why, -222, "width or gate is out of range");
    for (turn = 0; turn < count; turn++)
        if (number_at(codes + 2 * turn, 2) * DAC_STEP > MAX_VOLTS[operation - 1] + DAC_STEP / 2)
            return refuse(why, -222, "an amplitude is above the limit");
    if (!is_next && (sequence != board->sequence || sequence == 0 || digest != board->digest))
        return refuse(why, 101, "Sequence number out of order");
    if (labframe_room(answer) < 8 + (verify ? 2 * (size_t)count : 0))
        return refuse(why, -223, "the readings do not fit into a frame");
    if (!is_next) {
        if (board->batch_work != board->work)
            return refuse(why, 101, "Sequence number out of order; other work has followed");
        labframe_put_bytes(answer, board->kept, board->kept_size);
        return 0;
    }
    head = *answer;
    labframe_put_f8(answer, 0.0); /* the time, which is known at the end */
    for (turn = 0; turn < count; turn++) {
        uint32_t cell = next_cell(&cells, turn, from);

        apply(board, operation, cell, number_at(codes + 2 * turn, 2) * DAC_STEP);
        board->time += width + PULSE_TIME;
        if (verify)
            labframe_put_u16(answer, reading(board, cell, board->read_voltage));
        from = cell + 1;
    }
    labframe_put_f8(&head, board->time);
    keep(board, head.at - 8, answer);
    board->sequence = sequence;
    board->digest = digest;
    board->batch_work = board->work;
    return 0;
}

static int16_t read_cells(void *state, labframe_request *request, labframe_answer *answer, const char **why)
{
    demo_board *board = state;
    uint32_t repeats = labframe_get_u32(request), count, round, turn;
    selection cells = {(uint8_t)(labframe_get_u32(request) & 0xFF), NULL};
    double volts = labframe_get_f8(request);
    const uint8_t *payload = answer->at;
    int16_t error;

    count = labframe_get_u32(request);
    if (cells.where > 1)
        return refuse(why, -224, "no such way to name cells");
    if (cells.where == 1 && count <= CELLS)
        cells.list = labframe_get_bytes(request, 4 * (size_t)count);
    if (!labframe_is_read(request) || (cells.where == 1 && !cells.list))
        return wrong_size(why);
    if (cells.where == 0)
        count = CELLS;
    error = check_cells(&cells, count, why);
    if (error)
        return error;
    if (!is_within(volts, MIN_READ_VOLTAGE, MAX_READ_VOLTAGE) || repeats == 0)
        return refuse(why, -222, "voltage or repeats out of range");
    if (labframe_room(answer) < 8 || repeats > MAX_PAYLOAD || (labframe_room(answer) - 8) / 2 < (size_t)repeats * count)
        return refuse(why, -223, "the readings do not fit into a frame");
    if (volts != volts)
        volts = board->read_voltage;
    labframe_put_f8(answer, board->time + (double)repeats * count * READ_TIME);
    for (round = 0; round < repeats; round++) {
        uint32_t from = 0;

        for (turn = 0; turn < count; turn++) {
            uint32_t cell = next_cell(&cells, turn, from);

            labframe_put_u16(answer, reading(board, cell, volts));
            from = cell + 1;
        }
    }
    keep(board, payload, answer);
    return 0;
}

static int16_t multiply(void *state, labframe_request *request, labframe_answer *answer, const char **why)
{
    demo_board *board = state;
    uint8_t transpose = (uint8_t)(labframe_get_u32(request) & 0xFF);
    uint32_t lines = transpose ? COLS : ROWS, outputs = transpose ? ROWS : COLS;
    uint32_t vectors = labframe_get_u32(request), vector, out, line;
    const uint8_t *payload = answer->at;
    float inputs[ROWS > COLS ? ROWS : COLS];

    if (labframe_left(request) != (size_t)vectors * lines * 4)
        return wrong_size(why);
    if (labframe_room(answer) < 8 || (labframe_room(answer) - 8) / 4 < (size_t)vectors * outputs)
        return refuse(why, -223, "the currents do not fit into a frame");
    board->time += vectors * outputs * READ_TIME;
    labframe_put_f8(answer, board->time);
    for (vector = 0; vector < vectors; vector++) {
        for (line = 0; line < lines; line++)
            inputs[line] = labframe_get_f4(request);
        for (out = 0; out < outputs; out++) {
            double amps = 0.0;

            for (line = 0; line < lines; line++)
                amps += inputs[line] * board->conductance[transpose ? out * COLS + line : line * COLS + out];
            labframe_put_f4(answer, (float)amps);
        }
    }
    keep(board, payload, answer);
    return 0;
}

static int16_t counts(void *state, labframe_request *request, labframe_answer *answer, const char **why)
{
    const demo_board *board = state;
    uint8_t what = labframe_get_u8(request);
    uint32_t cell;

    if (!labframe_is_read(request))
        return wrong_size(why);
    if (what > 1)
        return refuse(why, -224, "pulses are 0, reads are 1");
    for (cell = 0; cell < CELLS; cell++)
        labframe_put_u32(answer, what ? board->reads[cell] : board->pulses[cell]);
    return 0;
}

static int16_t tell_time(void *state, labframe_request *request, labframe_answer *answer, const char **why)
{
    if (!labframe_is_read(request))
        return wrong_size(why);
    labframe_put_f8(answer, ((demo_board *)state)->time);
    return 0;
}

static int16_t advance(void *state, labframe_request *request, labframe_answer *answer, const char **why)
{
    demo_board *board = state;
    double seconds = labframe_get_f8(request);

    if (!labframe_is_read(request))
        return wrong_size(why);
    if (!(seconds >= 0.0 && seconds <= 1e10))
        return refuse(why, -222, "time goes forward only");
    board->time += seconds;
    labframe_put_f8(answer, board->time);
    return 0;
}

static const labframe_command COMMANDS[] = {
    {LABFRAME_HELLO, hello},       {LABFRAME_CONFIGURE, configure}, {LABFRAME_OUTPUT, output},
    {LABFRAME_STATE, tell_state},  {LABFRAME_LAST, last},           {LABFRAME_FETCH, fetch},
    {LABFRAME_PULSE, pulse},       {LABFRAME_READ, read_cells},     {LABFRAME_MULTIPLY, multiply},
    {LABFRAME_COUNTS, counts},     {LABFRAME_TIME, tell_time},      {LABFRAME_ADVANCE, advance},
};

/* -- the line -------------------------------------------------------------------------------------------------- */

static void send_bytes(void *state, const uint8_t *bytes, size_t size)
{
    while (size) {
        ssize_t sent = write(((demo_board *)state)->out, bytes, size);

        if (sent <= 0)
            _exit(1);
        bytes += sent;
        size -= (size_t)sent;
    }
}

static const char USAGE[] =
    "usage: demo_board                 a toy test board on standard input and output\n"
    "       demo_board /dev/ttyS1      on a serial port, as it is configured\n"
    "       demo_board --pty           on a pseudo-terminal, whose name it prints\n";

/* A pseudo-terminal that carries every byte as it is, its name on standard output; -1 where there is none. The other
 * end is kept open too, so that nothing ends when a program leaves. */
static int open_terminal(void)
{
    int ours = posix_openpt(O_RDWR | O_NOCTTY), theirs;
    struct termios line;

    if (ours < 0 || grantpt(ours) || unlockpt(ours) || (theirs = open(ptsname(ours), O_RDWR | O_NOCTTY)) < 0)
        return -1;
    if (tcgetattr(theirs, &line))
        return -1;
    line.c_iflag = 0;
    line.c_oflag = 0;
    line.c_lflag = 0;
    line.c_cflag = CS8 | CREAD | CLOCAL;
    if (tcsetattr(theirs, TCSANOW, &line))
        return -1;
    puts(ptsname(ours));
    fflush(stdout);
    return ours;
}

/* The line that was asked for; -1 where it cannot be had. */
static int open_line(const char *name)
{
    return strcmp(name, "--pty") == 0 ? open_terminal() : open(name, O_RDWR | O_NOCTTY);
}

int main(int argc, char **argv)
{
    static demo_board state;
    static uint8_t input[LABFRAME_OVERHEAD + MAX_PAYLOAD], stored[LABFRAME_OVERHEAD + MAX_PAYLOAD];
    static labframe link;
    labframe_board board = {COMMANDS, sizeof COMMANDS / sizeof *COMMANDS, begin_session, send_bytes, &state};
    struct pollfd line = {STDIN_FILENO, POLLIN, 0};
    struct timespec now;

    state.out = STDOUT_FILENO;
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(USAGE, stdout);
        return 0;
    }
    if (argc > 2 || (argc == 2 && argv[1][0] == '-' && strcmp(argv[1], "--pty") != 0)) {
        fputs(USAGE, stderr);
        return 2;
    }
    if (argc == 2 && (line.fd = state.out = open_line(argv[1])) < 0) {
        perror(argv[1]);
        return 1;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    state.boot = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    state.time = 1.7e9;
    state.ended = NAN; /* nothing has been done yet */
    state.temperature = 300.0;
    begin_session(&state);
    labframe_init(&link, &board, input, stored, MAX_PAYLOAD);
    for (;;) {
        uint8_t bytes[512];
        ssize_t size, i;

        if (poll(&line, 1, link.have || link.is_lost ? LABFRAME_QUIET_MS : -1) == 0) {
            labframe_quiet(&link);
            continue;
        }
        size = read(line.fd, bytes, sizeof bytes);
        if (size <= 0)
            return 0;
        for (i = 0; i < size; i++)
            labframe_byte(&link, bytes[i]);
    }
}
