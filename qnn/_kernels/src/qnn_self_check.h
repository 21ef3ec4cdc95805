/* Whether a path computes what plain C computes, asked once before the path is offered on a machine. */
#ifndef QNN_SELF_CHECK_H
#define QNN_SELF_CHECK_H

#include "qnn_gemm.h"

/* 1: all fixed cases came out equal; 0: one differed; -1: no memory to find out. */
int qnn_self_check(const qnn_isa *isa);
/* A wrong implementation, with which tests show that the check can fail: wrong in the last of an odd number of rows. */
const qnn_isa *qnn_isa_broken(void);

#endif
