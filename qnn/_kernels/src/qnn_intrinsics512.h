/* The intrinsics of AVX-512 or, with QNN_EMULATE, plain C of the same names and meaning. */
#ifndef QNN_INTRINSICS512_H
#define QNN_INTRINSICS512_H

#if defined(QNN_EMULATE)
#include "qnn_emulate_lanes.h"
#else
#include <immintrin.h>
#endif

#endif
