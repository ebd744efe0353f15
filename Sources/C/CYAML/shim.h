// Door to CYAML: includes, and inline shims for what Swift cannot import (macros, variadics). No policy.
#ifndef COVEY_CYAML_SHIM_H
#define COVEY_CYAML_SHIM_H
#include <yaml.h>
#endif
