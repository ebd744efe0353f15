// Door to CSystemd: includes, and inline shims for what Swift cannot import (macros, variadics). No policy.
#ifndef COVEY_CSystemd_SHIM_H
#define COVEY_CSystemd_SHIM_H
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-id128.h>
#endif
