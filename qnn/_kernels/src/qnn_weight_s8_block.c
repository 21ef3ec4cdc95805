/* A block of a weight gradient on bytes: input planes, gradient panels, and the runs in which they meet. */
#include "qnn_weight_s8.h"

typedef qnn_weight_job job;
typedef qnn_weight_memory memory;

/* Output rows first .. first+rows-1 of an image to rows base .. of the plane with these remainders. */
static void fill_plane(const job *j, int64_t image, int64_t first, int64_t rows, int64_t base, int64_t remainder_y,
                       int64_t remainder_x, int8_t *plane)
{
    const qnn_conv_shape *s = j->s;
    /* Element t of a row is input t * stride + remainder - pad. */
    int64_t before = s->pad_x - remainder_x, behind = s->w - 1 + before;
    int64_t t0 = before > 0 ? (before + s->stride_x - 1) / s->stride_x : 0;
    int64_t t1 = behind < 0 ? 0 : qnn_min(s->ow + j->tx.furthest, behind / s->stride_x + 1);
    for (int64_t u = 0; t0 < t1 && u < rows + j->ty.furthest; u++) {
        int64_t y = (first + u) * s->stride_y + remainder_y - s->pad_y;
        if (y < 0 || y >= s->h)
            continue;
        const int8_t *from = j->x + ((image * s->h + y) * s->w + t0 * s->stride_x - before) * s->channels;
        qnn_s8_transpose(from, s->stride_x * s->channels, t1 - t0, s->channels, j->isa->s8->flip,
                         plane + (base + u) * j->pitch + t0, j->plane);
    }
}

/* Zeros, a multiple of 16 bytes and mostly no more than that: less than a call would take. */
static void pad(int8_t *to, int64_t bytes)
{
    static const int8_t zeros[QNN_PANEL] = {0};
    for (int64_t i = 0; i < bytes; i += QNN_PANEL)
        memcpy(to + i, zeros, sizeof zeros);
}

/* Gradients of n neighbouring positions; each row's filters are filled up with zeros to whole panels. */
static void copy_gradients(const job *j, const int8_t *g, int64_t n, int8_t *to)
{
    const int64_t filters = j->s->filters, width = j->sums_stride;
    if (filters == width) {
        memcpy(to, g, (size_t)(n * width));
        return;
    }
    memset(to, 0, (size_t)(n * width));
    for (int64_t i = 0; i < n; i++)
        memcpy(to + i * width, g + i * filters, (size_t)filters);
}

/* Copies the gradients of all positions, and lists the runs of a plane that meet them. Returns the number of runs. */
static int64_t lay_gradients(const job *j, const memory *m, int64_t image0, int64_t images, int64_t first, int64_t rows,
                             int64_t length)
{
    const qnn_conv_shape *s = j->s;
    const int64_t row_positions = j->row_run ? j->row_run : j->pitch, width = j->sums_stride;
    int64_t at = 0, count = 0;
    for (int64_t i = 0; i < images; i++)
        for (int64_t y = 0; y < (j->row_run ? rows : j->image_rows) && at < length; y++) {
            const int64_t most = qnn_min(row_positions, length - at), inside = y < rows ? qnn_min(s->ow, most) : 0;
            if (inside > 0)
                copy_gradients(j, j->g + ((image0 + i) * s->oh + first + y) * s->ow * s->filters, inside,
                               m->grads + at * width);
            pad(m->grads + (at + inside) * width, (most - inside) * width);
            at += most;
            if (j->row_run)
                m->segments[count++] =
                    (qnn_s8_segment){(i * j->image_rows + y) * j->pitch, row_positions / QNN_S8_QUAD};
        }
    pad(m->grads + at * width, (length - at) * width);
    if (!j->row_run)
        m->segments[count++] = (qnn_s8_segment){0, length / QNN_S8_QUAD};
    return count;
}

/* A copy of every channel's plane for every tap. */
static void gather(const job *j, const memory *m)
{
    int8_t *to = m->gathered;
    for (int64_t t = 0; t < j->taps; t++) {
        int64_t offset, plane = qnn_weight_plane(j, t, &offset);
        const int8_t *from = m->planes + plane * j->channel_tiles * QNN_S8_TILE * j->plane + offset;
        for (int64_t c = 0; c < j->s->channels; c++, to += j->gathered_row)
            memcpy(to, from + c * j->plane, (size_t)qnn_min(j->gathered_row, j->plane - offset));
    }
}

int64_t qnn_weight_prepare(const job *j, const memory *m, int64_t image0, int64_t images, int64_t first, int64_t rows,
                           int64_t length)
{
    const qnn_conv_shape *s = j->s;
    int64_t channels = j->channel_tiles * QNN_S8_TILE;
    for (int64_t p = 0; p < j->ty.planes * j->tx.planes; p++) {
        int8_t *plane = m->planes + p * channels * j->plane;
        memset(plane, j->isa->s8->flip, (size_t)(s->channels * j->plane));
        for (int64_t i = 0; i < images; i++)
            fill_plane(j, image0 + i, first, rows, i * j->image_rows, j->ty.remainder[p / j->tx.planes],
                       j->tx.remainder[p % j->tx.planes], plane);
    }
    if (j->gathered_row)
        gather(j, m);
    int64_t runs = lay_gradients(j, m, image0, images, first, rows, length);
    for (int64_t p = 0; p < j->panels; p++) {
        int8_t *panel = m->panels + p * length * QNN_PANEL;
        qnn_s8_pack_dense(m->grads + p * QNN_PANEL, j->sums_stride, length / QNN_S8_QUAD, panel);
        if (j->isa->s8->start)
            j->isa->s8->start(panel, length / QNN_S8_QUAD, m->starts + p * QNN_PANEL);
    }
    return runs;
}
