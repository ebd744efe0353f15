"""An authority and certificates for the members of one scenario and for its clients, made by the openssl command."""

import os
import ssl
import subprocess

import grpc


class Certificates:
    """In a folder of the scenario. One leaf serves a member as server and client, on both ports."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder)
        self.authority = self.path("authority.pem")
        self.openssl(
            "req", "-x509", *self.new_key("authority"), "-out", self.authority, "-days", "3", "-subj", "/CN=authority of a scenario")
        self.issue("client")

    def path(self, name):
        return os.path.join(self.folder, name)

    def issue(self, name, address=None):
        """`name`.pem and `name`.key, for an IP address if one is given; members dial each other from 127.0.0.1."""
        extensions = "extendedKeyUsage=serverAuth,clientAuth\n" + ("subjectAltName=IP:%s,IP:127.0.0.1\n" % address if address else "")
        with open(self.path(name + ".ext"), "w") as file:
            file.write(extensions)
        self.openssl("req", "-new", *self.new_key(name), "-out", self.path(name + ".csr"), "-subj", "/CN=" + name)
        self.openssl(
            "x509", "-req", "-in", self.path(name + ".csr"), "-CA", self.authority, "-CAkey", self.path("authority.key"),
            "-CAcreateserial", "-days", "3", "-extfile", self.path(name + ".ext"), "-out", self.path(name + ".pem"))

    def new_key(self, name):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.path(name + ".key")]

    def openssl(self, *words):
        done = subprocess.run(["openssl", *words], capture_output=True, text=True)
        if done.returncode != 0:
            raise OSError("openssl %s: %s" % (words[0], done.stderr))

    def flags(self, name):
        """A member's: clients and members must show a certificate of this authority."""
        pair = [self.path(name + ".pem"), self.path(name + ".key")]
        return [word for prefix, asks in (("", "--client-cert-auth"), ("peer-", "--peer-client-cert-auth")) for word in (
            "--%scert-file" % prefix, pair[0], "--%skey-file" % prefix, pair[1],
            "--%strusted-ca-file" % prefix, self.authority, asks)]

    def context(self):
        context = ssl.create_default_context(cafile=self.authority)
        context.load_cert_chain(self.path("client.pem"), self.path("client.key"))
        return context

    def channel(self, target, options):
        def read(path):
            with open(path, "rb") as file:
                return file.read()
        return grpc.secure_channel(
            target, grpc.ssl_channel_credentials(read(self.authority), read(self.path("client.key")), read(self.path("client.pem"))),
            options=options)
