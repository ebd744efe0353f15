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

// Keys
static inline EVP_PKEY *covey_generate_ec(const char *curve) { return EVP_EC_gen(curve); }
static inline EVP_PKEY *covey_generate_rsa(unsigned bits) { return EVP_RSA_gen(bits); }
static inline EVP_PKEY *covey_generate_ed25519(void) { return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"); }

// Memory BIOs
static inline long covey_bio_contents(BIO *bio, char **bytes) { return BIO_get_mem_data(bio, bytes); }

// The subject as RFC 2253 has it, characters beyond ASCII as they are.
static inline int covey_print_name(BIO *bio, const X509_NAME *name) {
    return X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0;
}

// Stacks
static inline int covey_certificates_count(const STACK_OF(X509) *stack) { return stack ? sk_X509_num(stack) : 0; }
static inline X509 *covey_certificates_at(const STACK_OF(X509) *stack, int i) { return sk_X509_value(stack, i); }
static inline STACK_OF(X509) *covey_certificates_new(void) { return sk_X509_new_null(); }
static inline int covey_certificates_push(STACK_OF(X509) *stack, X509 *certificate) { return sk_X509_push(stack, certificate); }
static inline void covey_certificates_free(STACK_OF(X509) *stack) { sk_X509_free(stack); }
static inline GENERAL_NAMES *covey_alternative_names(const X509 *certificate) {
    return (GENERAL_NAMES *)X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
}
static inline int covey_names_count(const GENERAL_NAMES *names) { return sk_GENERAL_NAME_num(names); }
static inline int covey_names_type(const GENERAL_NAMES *names, int i) { return sk_GENERAL_NAME_value(names, i)->type; }
static inline const ASN1_STRING *covey_names_string(const GENERAL_NAMES *names, int i) {
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
    return name->type == GEN_DNS || name->type == GEN_URI || name->type == GEN_EMAIL ? name->d.ia5
         : name->type == GEN_IPADD ? name->d.iPAddress : NULL;
}
static inline STACK_OF(X509_EXTENSION) *covey_extensions_new(void) { return sk_X509_EXTENSION_new_null(); }
static inline int covey_extensions_push(STACK_OF(X509_EXTENSION) *stack, X509_EXTENSION *extension) {
    return sk_X509_EXTENSION_push(stack, extension);
}
static inline void covey_extensions_free(STACK_OF(X509_EXTENSION) *stack) {
    sk_X509_EXTENSION_pop_free(stack, X509_EXTENSION_free);
}
static inline int covey_extensions_count(const STACK_OF(X509_EXTENSION) *stack) { return sk_X509_EXTENSION_num(stack); }
static inline X509_EXTENSION *covey_extensions_at(const STACK_OF(X509_EXTENSION) *stack, int i) {
    return sk_X509_EXTENSION_value(stack, i);
}
static inline int covey_revoked_count(X509_CRL *list) { return sk_X509_REVOKED_num(X509_CRL_get_REVOKED(list)); }
static inline const ASN1_INTEGER *covey_revoked_serial(X509_CRL *list, int i) {
    return X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(X509_CRL_get_REVOKED(list), i));
}

// Extensions
static inline X509_EXTENSION *covey_extension(X509 *issuer, X509 *subject, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, subject, NULL, NULL, 0);
    return X509V3_EXT_conf_nid(NULL, &context, nid, value);
}

// Settings that are macros
static inline int covey_min_version(SSL_CTX *context, int version) { return SSL_CTX_set_min_proto_version(context, version); }
static inline int covey_max_version(SSL_CTX *context, int version) { return SSL_CTX_set_max_proto_version(context, version); }
static inline void covey_add_mode(SSL_CTX *context, long mode) { SSL_CTX_set_mode(context, mode); }
static inline void covey_session_cache(SSL_CTX *context, long mode) { SSL_CTX_set_session_cache_mode(context, mode); }
static inline int covey_server_name(SSL *ssl, const char *name) { return SSL_set_tlsext_host_name(ssl, name); }
static inline void covey_read_ahead(SSL_CTX *context) { SSL_CTX_set_read_ahead(context, 1); }
static inline void covey_bio_clear_retry(BIO *bio) { BIO_clear_retry_flags(bio); }
static inline void covey_bio_retry_read(BIO *bio) { BIO_set_retry_read(bio); }
static inline void covey_bio_init_done(BIO *bio) { BIO_set_init(bio, 1); }
static inline int covey_add_chain(SSL_CTX *context, X509 *certificate) { return SSL_CTX_add1_chain_cert(context, certificate); }
#endif
