/* Plans of convolutions of bytes: runs of neighbouring taps, packed weights with zeros where a run is padded. */
#include "qnn_conv_s8.h"

#include "qnn_parallel.h"

/* How many taps from t on are read as one run: their pixels follow each other. */
static int64_t run_length(const qnn_axis_phase *x, int64_t t)
{
    int64_t run = 1;
    while (t + run < x->taps && x->offset[t + run] == x->offset[t] + run)
        run++;
    return run;
}

static int plan_one_phase(const qnn_s8_plan *plan, qnn_s8_phase *phase)
{
    const qnn_axis_phase *y = phase->y, *x = phase->x;
    phase->segment = qnn_allocate((y->taps * x->taps + 1) * (int64_t)sizeof *phase->segment);
    if (!phase->segment)
        return -1;
    for (int64_t i = 0; i < y->taps; i++)
        for (int64_t t = 0, run; t < x->taps; t += run) {
            run = run_length(x, t);
            int64_t row = y->offset[i] - plan->y.lowest, column = x->offset[t] - plan->x.lowest;
            int64_t quads = qnn_s8_padded(plan->isa->s8, run * plan->in_channels) / QNN_S8_QUAD;
            phase->segment[phase->segments++] =
                (qnn_s8_segment){(row * plan->buffer_width + column) * plan->in_channels, quads};
            phase->quads += quads;
        }
    return 0;
}

int qnn_s8_plan_phases(qnn_s8_plan *plan)
{
    int64_t most = plan->y.phases * plan->x.phases;
    plan->phase = qnn_allocate(most * (int64_t)sizeof *plan->phase);
    if (!plan->phase)
        return -1;
    memset(plan->phase, 0, (size_t)most * sizeof *plan->phase);
    for (int64_t i = 0; i < plan->y.phases; i++)
        for (int64_t k = 0; k < plan->x.phases; k++) {
            const qnn_axis_phase *y = &plan->y.phase[i], *x = &plan->x.phase[k];
            if (y->count == 0 || x->count == 0)
                continue;
            qnn_s8_phase *phase = &plan->phase[plan->phases++];
            phase->y = y;
            phase->x = x;
            if (plan_one_phase(plan, phase))
                return -1;
        }
    return 0;
}

typedef struct {
    const qnn_s8_plan *plan;
    const qnn_s8_phase *phase;
    const qnn_conv_shape *shape;
    const int8_t *weights;
    int gradient;
} pack_job;

/* One run of taps of one panel. Forward: columns are filters, each contiguous along the run. Gradient: rows are
   (tap, filter), columns are input channels. */
static void pack_run(const pack_job *j, int64_t column, int64_t columns, int64_t y, int64_t t, int64_t run, int8_t *to)
{
    enum { ROWS = 64 };
    const int64_t channels = j->shape->channels, in = j->plan->in_channels, length = run * in;
    const int64_t filter_size = j->shape->kh * j->shape->kw * channels, row = j->phase->y->index[y] * j->shape->kw;
    const int64_t quads = qnn_s8_padded(j->plan->isa->s8, length) / QNN_S8_QUAD;
    if (!j->gradient) {
        const int8_t *from = j->weights + column * filter_size + (row + j->phase->x->index[t]) * channels;
        qnn_s8_pack_columns(from, filter_size, length, columns, quads, to);
        return;
    }
    const int8_t *rows[ROWS];
    for (int64_t q = 0; q < quads; q += ROWS / QNN_S8_QUAD) {
        int64_t k = q * QNN_S8_QUAD, part = qnn_min(ROWS, length - k);
        for (int64_t i = 0; i < part; i++) {
            int64_t tap = row + j->phase->x->index[t + (k + i) / in];
            rows[i] = j->weights + (k + i) % in * filter_size + tap * channels + column;
        }
        qnn_s8_pack_rows(rows, 0, part, columns, qnn_min(ROWS / QNN_S8_QUAD, quads - q), to + q * QNN_S8_STEP);
    }
}

static void pack_panels(void *context, int64_t begin, int64_t end, int worker)
{
    const pack_job *j = context;
    const qnn_s8_plan *plan = j->plan;
    const qnn_axis_phase *y = j->phase->y, *x = j->phase->x;
    (void)worker;
    for (int64_t p = begin; p < end; p++) {
        int64_t column = p * QNN_PANEL, columns = qnn_min(QNN_PANEL, plan->out_channels - column);
        int8_t *panel = j->phase->packed + p * j->phase->quads * QNN_S8_STEP, *to = panel;
        for (int64_t ty = 0; ty < y->taps; ty++)
            for (int64_t tx = 0, run; tx < x->taps; tx += run) {
                run = run_length(x, tx);
                pack_run(j, column, columns, ty, tx, run, to);
                to += qnn_s8_padded(plan->isa->s8, run * plan->in_channels) * QNN_PANEL;
            }
        if (plan->isa->s8->start)
            plan->isa->s8->start(panel, j->phase->quads, j->phase->starts + p * QNN_PANEL);
    }
}

int qnn_s8_plan_pack(qnn_s8_plan *plan, const qnn_conv_shape *shape, const int8_t *weights, int gradient, int threads)
{
    for (int64_t i = 0; i < plan->phases; i++) {
        qnn_s8_phase *phase = &plan->phase[i];
        pack_job j = {plan, phase, shape, weights, gradient};
        phase->packed = qnn_allocate(plan->panels * phase->quads * QNN_S8_STEP);
        phase->starts = qnn_allocate(plan->panels * QNN_PANEL * 4);
        if (!phase->packed || !phase->starts)
            return -1;
        qnn_parallel(plan->panels, threads, pack_panels, &j);
    }
    return 0;
}

void qnn_s8_plan_release(qnn_s8_plan *plan)
{
    for (int64_t i = 0; i < plan->phases; i++) {
        qnn_release(plan->phase[i].segment);
        qnn_release(plan->phase[i].packed);
        qnn_release(plan->phase[i].starts);
    }
    qnn_release(plan->phase);
    qnn_axis_release(&plan->y);
    qnn_axis_release(&plan->x);
}
