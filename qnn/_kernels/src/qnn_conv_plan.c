/* Plans of convolutions: taps per axis and phase, segments and chunks, packed weights. */
#include "qnn_conv_plan.h"

#include <string.h>

#include "qnn_parallel.h"

/* Longest sum between two visits of the sums: a panel of so many products stays in the first-level cache. */
enum { CACHE_K = 768 };

static int axis_allocate(qnn_axis *axis, int64_t phases, int64_t taps)
{
    memset(axis, 0, sizeof *axis);
    axis->phase = qnn_allocate(phases * (int64_t)sizeof *axis->phase);
    if (!axis->phase)
        return -1;
    axis->phases = phases;
    memset(axis->phase, 0, (size_t)phases * sizeof *axis->phase);
    for (int64_t i = 0; i < phases; i++) {
        qnn_axis_phase *p = &axis->phase[i];
        p->offset = qnn_allocate(2 * taps * (int64_t)sizeof *p->offset);
        if (!p->offset)
            return -1;
        p->index = p->offset + taps;
    }
    return 0;
}

void qnn_axis_release(qnn_axis *axis)
{
    for (int64_t i = 0; i < axis->phases; i++)
        qnn_release(axis->phase[i].offset);
    qnn_release(axis->phase);
    memset(axis, 0, sizeof *axis);
}

/* Smallest and largest offset that some output really reads. */
static void axis_measure(qnn_axis *axis)
{
    int64_t lowest = INT64_MAX, highest = INT64_MIN;
    for (int64_t i = 0; i < axis->phases; i++) {
        const qnn_axis_phase *p = &axis->phase[i];
        if (p->count == 0 || p->taps == 0)
            continue;
        lowest = qnn_min(lowest, p->offset[0]);
        highest = qnn_max(highest, p->offset[p->taps - 1]);
    }
    axis->lowest = lowest == INT64_MAX ? 0 : lowest;
    axis->span = lowest == INT64_MAX ? 0 : highest - lowest;
}

int qnn_axis_forward(qnn_axis *axis, int64_t outputs, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation)
{
    if (axis_allocate(axis, 1, kernel))
        return -1;
    qnn_axis_phase *p = axis->phase;
    axis->out_step = 1;
    axis->in_step = stride;
    p->count = outputs;
    for (int64_t k = 0; k < kernel; k++) {
        p->offset[p->taps] = k * dilation - pad;
        p->index[p->taps++] = k;
    }
    axis_measure(axis);
    return 0;
}

int qnn_axis_gradient(qnn_axis *axis, int64_t outputs, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation)
{
    /* Remainders that no output has need no phase, which bounds the work for absurd strides. */
    int64_t phases = qnn_max(1, qnn_min(stride, outputs));
    if (axis_allocate(axis, phases, kernel))
        return -1;
    axis->out_step = stride;
    axis->in_step = 1;
    for (int64_t r = 0; r < phases; r++) {
        qnn_axis_phase *p = &axis->phase[r];
        p->start = r;
        p->count = outputs > r ? (outputs - r - 1) / stride + 1 : 0;
        for (int64_t k = kernel - 1; k >= 0; k--)
            if ((r + pad - k * dilation) % stride == 0) {
                p->offset[p->taps] = (r + pad - k * dilation) / stride;
                p->index[p->taps++] = k;
            }
    }
    axis_measure(axis);
    return 0;
}

/* How many taps from t on are read as one run of neighbouring elements: their offsets follow each other. */
static int64_t run_length(const qnn_conv_plan *plan, const qnn_axis_phase *x, int64_t t)
{
    int64_t run = 1;
    if (plan->groups == 1)
        while (t + run < x->taps && x->offset[t + run] == x->offset[t] + run)
            run++;
    return run;
}

/* Cuts the runs into segments and the segments into chunks no longer than `limit` products (limit is even). */
static void add_run(qnn_conv_phase *phase, int64_t offset, int64_t length, int64_t limit, int64_t *in_chunk)
{
    while (length > 0) {
        if (phase->chunks == 0 || *in_chunk >= limit - 1) {
            phase->chunk[phase->chunks++] = (qnn_chunk){phase->segments, 0, phase->pairs, 0};
            *in_chunk = 0;
        }
        int64_t take = qnn_min(length, limit - (*in_chunk + 1) / 2 * 2), pairs = (take + 1) / 2;
        phase->segment[phase->segments++] = (qnn_segment){offset, pairs};
        phase->chunk[phase->chunks - 1].count++;
        phase->pairs += pairs;
        *in_chunk = (*in_chunk + 1) / 2 * 2 + take;
        offset += take;
        length -= take;
    }
}

static int plan_one_phase(qnn_conv_plan *plan, qnn_conv_phase *phase, int64_t buffer_width)
{
    const qnn_axis_phase *y = phase->y, *x = phase->x;
    int64_t channels = plan->groups * plan->in_group, products = y->taps * x->taps * plan->in_group;
    int64_t limit = plan->wide ? qnn_min(CACHE_K, plan->layout.safe_k) : CACHE_K, in_chunk = 0;
    int64_t most = 2 * y->taps * x->taps + products / (limit / 4) + 4;
    phase->segment = qnn_allocate(most * (int64_t)sizeof *phase->segment);
    phase->chunk = qnn_allocate(most * (int64_t)sizeof *phase->chunk);
    if (!phase->segment || !phase->chunk)
        return -1;
    for (int64_t i = 0; i < y->taps; i++)
        for (int64_t t = 0, run; t < x->taps; t += run) {
            run = run_length(plan, x, t);
            int64_t row = y->offset[i] - plan->y.lowest, column = x->offset[t] - plan->x.lowest;
            add_run(phase, (row * buffer_width + column) * channels, run * plan->in_group, limit, &in_chunk);
        }
    if (phase->chunks == 0) /* outputs that nothing reaches: one empty chunk gives their zeros */
        phase->chunk[phase->chunks++] = (qnn_chunk){0, 0, 0, 1};
    /* Drained when the next chunk could leave int32, which a chunk of CACHE_K cannot do alone. */
    int64_t per_drain = plan->wide ? plan->layout.safe_k / limit : phase->chunks;
    for (int64_t c = 0; c < phase->chunks; c++)
        phase->chunk[c].drain = (c + 1) % qnn_max(1, per_drain) == 0 || c + 1 == phase->chunks;
    plan->most_segments = qnn_max(plan->most_segments, phase->segments);
    return 0;
}

int qnn_plan_phases(qnn_conv_plan *plan, int64_t buffer_width)
{
    int64_t most = plan->y.phases * plan->x.phases;
    plan->phases = 0;
    plan->most_segments = 1;
    plan->phase = qnn_allocate(most * (int64_t)sizeof *plan->phase);
    if (!plan->phase)
        return -1;
    memset(plan->phase, 0, (size_t)most * sizeof *plan->phase);
    for (int64_t i = 0; i < plan->y.phases; i++)
        for (int64_t j = 0; j < plan->x.phases; j++) {
            qnn_conv_phase *phase = &plan->phase[plan->phases];
            phase->y = &plan->y.phase[i];
            phase->x = &plan->x.phase[j];
            if (phase->y->count == 0 || phase->x->count == 0)
                continue;
            plan->phases++;
            if (plan_one_phase(plan, phase, buffer_width))
                return -1;
        }
    return 0;
}

typedef struct {
    const qnn_conv_plan *plan;
    const qnn_conv_phase *phase;
    const qnn_conv_shape *shape;
    const char *weights;
    int bytes, gradient;
} pack_job;

/* One run of taps of one panel. Forward: columns are filters, each contiguous along the run. Gradient: rows are
   (tap, filter), columns are input channels. */
static void pack_run(const pack_job *j, int64_t group, int64_t column, int64_t columns, int64_t y, int64_t t,
                     int64_t run, int16_t *to)
{
    const qnn_conv_plan *plan = j->plan;
    int64_t cg = j->shape->channels / j->shape->groups, filter_size = j->shape->kh * j->shape->kw * cg;
    int64_t row = j->phase->y->index[y] * j->shape->kw;
    if (!j->gradient) {
        int64_t at = (group * plan->out_group + column) * filter_size + (row + j->phase->x->index[t]) * cg;
        plan->isa->pack_columns(j->weights + at * j->bytes, j->bytes, filter_size, run * cg, columns,
                                plan->layout.split, to);
        return;
    }
    const void *rows[64];
    int64_t length = run * plan->in_group;
    for (int64_t k = 0; k < length; k += 64, to += 64 * QNN_PANEL) {
        int64_t part = qnn_min(64, length - k);
        for (int64_t i = 0; i < part; i++) {
            int64_t filter = group * plan->in_group + (k + i) % plan->in_group;
            int64_t tap = row + j->phase->x->index[t + (k + i) / plan->in_group];
            rows[i] = j->weights + (filter * filter_size + tap * cg + column) * j->bytes;
        }
        plan->isa->pack_rows(rows, j->bytes, part, columns, plan->layout.split, to);
    }
}

static void pack_panels(void *context, int64_t begin, int64_t end, int worker)
{
    const pack_job *j = context;
    const qnn_conv_plan *plan = j->plan;
    const qnn_axis_phase *y = j->phase->y, *x = j->phase->x;
    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        int64_t group = i / plan->panels, column = i % plan->panels * plan->layout.panel_width;
        int64_t columns = qnn_min(plan->layout.panel_width, plan->out_group - column);
        int16_t *to = j->phase->packed + i * j->phase->pairs * 2 * QNN_PANEL;
        for (int64_t ty = 0; ty < y->taps; ty++)
            for (int64_t tx = 0, run; tx < x->taps; tx += run) {
                run = run_length(plan, x, tx);
                pack_run(j, group, column, columns, ty, tx, run, to);
                to += (run * plan->in_group + 1) / 2 * 2 * QNN_PANEL;
            }
    }
}

int qnn_plan_pack(qnn_conv_plan *plan, const qnn_conv_shape *shape, const void *weights, int bytes, int gradient,
                  int threads)
{
    for (int64_t i = 0; i < plan->phases; i++) {
        qnn_conv_phase *phase = &plan->phase[i];
        pack_job j = {plan, phase, shape, weights, bytes, gradient};
        phase->packed = qnn_allocate(plan->groups * plan->panels * phase->pairs * 2 * QNN_PANEL * 2);
        if (!phase->packed)
            return -1;
        qnn_parallel(plan->groups * plan->panels, threads, pack_panels, &j);
    }
    return 0;
}

void qnn_plan_release(qnn_conv_plan *plan)
{
    for (int64_t i = 0; i < plan->phases; i++) {
        qnn_release(plan->phase[i].segment);
        qnn_release(plan->phase[i].chunk);
        qnn_release(plan->phase[i].packed);
    }
    qnn_release(plan->phase);
    qnn_axis_release(&plan->y);
    qnn_axis_release(&plan->x);
}
