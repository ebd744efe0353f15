// Door to COpenSSL: includes, and inline shims for what Swift cannot import (macros, variadics). No policy.
#ifndef COVEY_COpenSSL_SHIM_H
#define COVEY_COpenSSL_SHIM_H
#include <openssl/ssl.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <openssl/pem.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#endif
