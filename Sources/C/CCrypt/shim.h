// Door to CCrypt: includes, and inline shims for what Swift cannot import (macros, variadics). No policy.
#ifndef COVEY_CCrypt_SHIM_H
#define COVEY_CCrypt_SHIM_H
#include <crypt.h>
#endif
