/* The board side of labctl's serial frames (docs/board-frames.md): bytes in, frames checked, each request carried out
 * once, answers out. C99, no allocation, no operating system; a few hundred bytes of state besides two buffers.
 *
 * Feed every byte that arrives to labframe_byte(); when none has come for LABFRAME_QUIET_MS, call labframe_quiet().
 * Both call the board's handlers and its `send` before they return.
 */
#ifndef LABFRAME_H
#define LABFRAME_H

#include <stddef.h>
#include <stdint.h>

#define LABFRAME_VERSION 1
#define LABFRAME_HEADER 16u
#define LABFRAME_OVERHEAD 20u /* bytes of a frame besides its payload */
#define LABFRAME_QUIET_MS 250

enum labframe_kind {
    LABFRAME_HELLO = 0x01,
    LABFRAME_CONFIGURE = 0x02,
    LABFRAME_OUTPUT = 0x03,
    LABFRAME_STATE = 0x04,
    LABFRAME_LAST = 0x05,
    LABFRAME_PULSE = 0x10,
    LABFRAME_READ = 0x11,
    LABFRAME_MULTIPLY = 0x12,
    LABFRAME_COUNTS = 0x13,
    LABFRAME_FETCH = 0x14,
    LABFRAME_TIME = 0x20,
    LABFRAME_ADVANCE = 0x21
};

enum labframe_status {
    LABFRAME_OK = 0,
    LABFRAME_REFUSED = 1,
    LABFRAME_DAMAGED = 2,
    LABFRAME_NO_SESSION = 3,
    LABFRAME_OUT_OF_ORDER = 4
};

/* A payload being read. Reading beyond its end gives zeros and sets `failed`. */
typedef struct {
    const uint8_t *at;
    const uint8_t *end;
    int failed;
} labframe_request;

/* A payload being written. Writing beyond its room writes nothing and sets `failed`. */
typedef struct {
    uint8_t *at;
    uint8_t *end;
    int failed;
} labframe_answer;

/* Carries one request out. Returns 0; or the number of a SCPI error, with `*why` set to its text, where nothing was
 * done. A request that was not read to its end, or beyond it, has to be refused by the handler: labframe_is_read(). */
typedef int16_t (*labframe_handler)(void *board, labframe_request *request, labframe_answer *answer, const char **why);

typedef struct {
    uint8_t kind;
    labframe_handler handle;
} labframe_command;

typedef struct {
    const labframe_command *commands; /* HELLO among them */
    size_t count;
    void (*begin_session)(void *board); /* settings as after power-on, outputs off */
    void (*send)(void *board, const uint8_t *bytes, size_t size);
    void *board; /* handed to all of these */
} labframe_board;

typedef struct {
    const labframe_board *board;
    uint8_t *input; /* what has arrived: LABFRAME_OVERHEAD + max_payload bytes */
    uint8_t *stored; /* the last answer, as a frame: as many bytes again */
    uint32_t max_payload;
    size_t have;
    size_t need; /* bytes that `input` must have before looking at it again is of use */
    size_t fence; /* up to here they have been part of a frame that failed */
    size_t stored_size;
    uint64_t session;
    uint16_t last; /* number of the request whose answer is stored */
    int has_session;
    int is_lost; /* noise has been reported */
} labframe;

void labframe_init(labframe *link, const labframe_board *board, uint8_t *input, uint8_t *stored, uint32_t max_payload);
void labframe_byte(labframe *link, uint8_t byte);
void labframe_quiet(labframe *link);

uint8_t labframe_get_u8(labframe_request *request);
uint16_t labframe_get_u16(labframe_request *request);
uint32_t labframe_get_u32(labframe_request *request);
uint64_t labframe_get_u64(labframe_request *request);
float labframe_get_f4(labframe_request *request);
double labframe_get_f8(labframe_request *request);
/* The next `size` bytes where they are; NULL where there are fewer. */
const uint8_t *labframe_get_bytes(labframe_request *request, size_t size);
size_t labframe_left(const labframe_request *request);
/* Whether it was read to its end and no further. */
int labframe_is_read(const labframe_request *request);

size_t labframe_room(const labframe_answer *answer);
void labframe_put_u8(labframe_answer *answer, uint8_t value);
void labframe_put_u16(labframe_answer *answer, uint16_t value);
void labframe_put_u32(labframe_answer *answer, uint32_t value);
void labframe_put_u64(labframe_answer *answer, uint64_t value);
void labframe_put_f4(labframe_answer *answer, float value);
void labframe_put_f8(labframe_answer *answer, double value);
void labframe_put_bytes(labframe_answer *answer, const uint8_t *bytes, size_t size);
void labframe_put_text(labframe_answer *answer, const char *text); /* one byte of length, then at most 255 bytes */

uint32_t labframe_crc32(uint32_t before, const uint8_t *bytes, size_t size); /* `before` is 0 at first */

#endif
