// Door to CNghttp2: includes, and inline shims for what Swift cannot import (macros, variadics). No policy.
#ifndef COVEY_CNghttp2_SHIM_H
#define COVEY_CNghttp2_SHIM_H
#include <nghttp2/nghttp2.h>
#endif
