#include "labframe.h"

#include <string.h>

#define ANSWER 0x80u
#define NO_KIND 0xFFu

static const uint8_t START[3] = {'L', 'C', 1};

uint32_t labframe_crc32(uint32_t before, const uint8_t *bytes, size_t size)
{
    uint32_t crc = ~before;
    size_t i;
    int bit;

    for (i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1u)));
    }
    return ~crc;
}

/* -- little-endian numbers ------------------------------------------------------------------------------------- */

static uint64_t get(const uint8_t *bytes, int size)
{
    uint64_t value = 0;
    int i;

    for (i = size - 1; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

static void put(uint8_t *bytes, uint64_t value, int size)
{
    int i;

    for (i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
}

const uint8_t *labframe_get_bytes(labframe_request *request, size_t size)
{
    const uint8_t *at = request->at;

    if (size > labframe_left(request)) {
        request->failed = 1;
        return NULL;
    }
    request->at += size;
    return at;
}

static uint64_t take(labframe_request *request, int size)
{
    const uint8_t *at = labframe_get_bytes(request, (size_t)size);

    return at ? get(at, size) : 0;
}

uint8_t labframe_get_u8(labframe_request *request) { return (uint8_t)take(request, 1); }
uint16_t labframe_get_u16(labframe_request *request) { return (uint16_t)take(request, 2); }
uint32_t labframe_get_u32(labframe_request *request) { return (uint32_t)take(request, 4); }
uint64_t labframe_get_u64(labframe_request *request) { return take(request, 8); }

float labframe_get_f4(labframe_request *request)
{
    uint32_t bits = labframe_get_u32(request);
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

double labframe_get_f8(labframe_request *request)
{
    uint64_t bits = labframe_get_u64(request);
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

size_t labframe_left(const labframe_request *request) { return (size_t)(request->end - request->at); }

int labframe_is_read(const labframe_request *request) { return !request->failed && request->at == request->end; }

size_t labframe_room(const labframe_answer *answer) { return (size_t)(answer->end - answer->at); }

static void give(labframe_answer *answer, uint64_t value, int size)
{
    if ((size_t)size > labframe_room(answer)) {
        answer->failed = 1;
        return;
    }
    put(answer->at, value, size);
    answer->at += size;
}

void labframe_put_u8(labframe_answer *answer, uint8_t value) { give(answer, value, 1); }
void labframe_put_u16(labframe_answer *answer, uint16_t value) { give(answer, value, 2); }
void labframe_put_u32(labframe_answer *answer, uint32_t value) { give(answer, value, 4); }
void labframe_put_u64(labframe_answer *answer, uint64_t value) { give(answer, value, 8); }

void labframe_put_f4(labframe_answer *answer, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    give(answer, bits, 4);
}

void labframe_put_f8(labframe_answer *answer, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    give(answer, bits, 8);
}

void labframe_put_bytes(labframe_answer *answer, const uint8_t *bytes, size_t size)
{
    if (size > labframe_room(answer)) {
        answer->failed = 1;
        return;
    }
    memcpy(answer->at, bytes, size);
    answer->at += size;
}

void labframe_put_text(labframe_answer *answer, const char *text)
{
    size_t size = strlen(text);

    if (size > 255)
        size = 255;
    labframe_put_u8(answer, (uint8_t)size);
    labframe_put_bytes(answer, (const uint8_t *)text, size);
}

/* -- answers --------------------------------------------------------------------------------------------------- */

/* Head and tail of the frame in `frame`, whose payload is there already. Returns the size of the whole. */
static size_t close_frame(uint8_t *frame, uint8_t kind, uint16_t number, uint16_t status, size_t length)
{
    memcpy(frame, START, sizeof START);
    frame[3] = kind;
    put(frame + 4, number, 2);
    put(frame + 6, status, 2);
    put(frame + 8, length, 4);
    put(frame + 12, labframe_crc32(0, frame, 12), 4);
    put(frame + LABFRAME_HEADER + length, labframe_crc32(0, frame + LABFRAME_HEADER, length), 4);
    return LABFRAME_OVERHEAD + length;
}

/* An answer without payload, which is not stored. */
static void send_status(labframe *link, uint8_t kind, uint16_t number, uint16_t status)
{
    uint8_t frame[LABFRAME_OVERHEAD];

    link->board->send(link->board->board, frame, close_frame(frame, kind, number, status, 0));
}

static void report_damage(labframe *link) { send_status(link, NO_KIND, 0, LABFRAME_DAMAGED); }

static void send_stored(labframe *link) { link->board->send(link->board->board, link->stored, link->stored_size); }

static int16_t handle(labframe *link, uint8_t kind, labframe_request *request, labframe_answer *answer, const char **why)
{
    size_t i;

    for (i = 0; i < link->board->count; i++)
        if (link->board->commands[i].kind == kind)
            return link->board->commands[i].handle(link->board->board, request, answer, why);
    *why = "no such request";
    return -113;
}

static void carry_out(labframe *link, uint8_t kind, uint16_t number, labframe_request *request)
{
    uint8_t *payload = link->stored + LABFRAME_HEADER;
    labframe_answer answer = {payload, payload + link->max_payload, 0};
    const char *why = "";
    int16_t error = handle(link, kind, request, &answer, &why);

    if (!error && answer.failed) {
        error = -223;
        why = "the answer is longer than a frame may be";
    }
    if (error) {
        size_t size = strlen(why);

        answer.at = payload;
        answer.failed = 0;
        labframe_put_u16(&answer, (uint16_t)error);
        if (size > labframe_room(&answer))
            size = labframe_room(&answer);
        labframe_put_bytes(&answer, (const uint8_t *)why, size);
    }
    link->last = number;
    link->stored_size = close_frame(link->stored, (uint8_t)(kind | ANSWER), number, error ? LABFRAME_REFUSED : LABFRAME_OK,
                                    (size_t)(answer.at - payload));
    send_stored(link);
}

/* -- requests -------------------------------------------------------------------------------------------------- */

/* A HELLO of another session than the present one begins that. */
static int begins_session(labframe *link, const uint8_t *payload, size_t length)
{
    uint64_t session;

    if (length != 10)
        return 0;
    session = get(payload + 2, 8);
    if (link->has_session && session == link->session)
        return 0;
    link->session = session;
    link->has_session = 1;
    link->board->begin_session(link->board->board);
    return 1;
}

static void answer_frame(labframe *link, const uint8_t *frame, size_t length)
{
    const uint8_t *payload = frame + LABFRAME_HEADER;
    uint8_t kind = frame[3];
    uint16_t number = (uint16_t)get(frame + 4, 2);
    labframe_request request = {payload, payload + length, 0};

    if (kind & ANSWER) /* our own, come back from a line that echoes */
        return;
    if (kind == LABFRAME_HELLO && begins_session(link, payload, length))
        carry_out(link, kind, number, &request);
    else if (!link->has_session)
        send_status(link, (uint8_t)(kind | ANSWER), number, LABFRAME_NO_SESSION);
    else if (number == link->last)
        send_stored(link);
    else if (number == (uint16_t)(link->last + 1))
        carry_out(link, kind, number, &request);
    else
        send_status(link, (uint8_t)(kind | ANSWER), number, LABFRAME_OUT_OF_ORDER);
}

static int is_header(const labframe *link, const uint8_t *at)
{
    return get(at + 12, 4) == labframe_crc32(0, at, 12) && get(at + 8, 4) <= link->max_payload;
}

/* Noise is reported once, until a frame has come again. */
static void pass_noise(labframe *link)
{
    if (!link->is_lost)
        report_damage(link);
    link->is_lost = 1;
}

/* Look at what has arrived. `is_quiet`: no more will come of what is half there. */
static void scan(labframe *link, int is_quiet)
{
    size_t at = 0;

    link->need = LABFRAME_HEADER;
    while (at < link->have) {
        const uint8_t *frame = link->input + at;
        size_t left = link->have - at, length, end;

        if (memcmp(frame, START, left < sizeof START ? left : sizeof START) != 0
            || (left >= LABFRAME_HEADER ? !is_header(link, frame) : is_quiet)) {
            at++;
            pass_noise(link);
            continue;
        }
        if (left < LABFRAME_HEADER)
            break;
        length = (size_t)get(frame + 8, 4);
        end = at + LABFRAME_OVERHEAD + length;
        if (end > link->have && !is_quiet) {
            link->need = end - at;
            break;
        }
        if (end <= link->have
            && get(frame + LABFRAME_HEADER + length, 4) == labframe_crc32(0, frame + LABFRAME_HEADER, length)) {
            link->is_lost = 0;
            answer_frame(link, frame, length);
            at = end;
            continue;
        }
        /* Bytes may have been lost, and another frame begin inside this one; each byte is looked at once more only. */
        at += LABFRAME_HEADER;
        if (at < link->fence)
            at = link->fence;
        link->fence = end < link->have ? end : link->have;
        link->is_lost = 1;
        report_damage(link);
    }
    memmove(link->input, link->input + at, link->have - at);
    link->have -= at;
    link->fence = link->fence > at ? link->fence - at : 0;
}

void labframe_init(labframe *link, const labframe_board *board, uint8_t *input, uint8_t *stored, uint32_t max_payload)
{
    memset(link, 0, sizeof *link);
    link->board = board;
    link->input = input;
    link->stored = stored;
    link->max_payload = max_payload;
    link->need = LABFRAME_HEADER;
}

void labframe_byte(labframe *link, uint8_t byte)
{
    link->input[link->have++] = byte;
    if (link->have >= link->need)
        scan(link, 0);
}

void labframe_quiet(labframe *link)
{
    scan(link, 1);
    link->is_lost = 0;
}
