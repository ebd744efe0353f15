// Door to CLMDB: includes, and inline shims for what Swift cannot import (macros, variadics). No policy.
#ifndef COVEY_CLMDB_SHIM_H
#define COVEY_CLMDB_SHIM_H
#include <lmdb.h>
#endif
