SUMMARY = "Field gateway: sensors to MQTT, with a LAN broker and store-and-forward"
DESCRIPTION = "Reads sensors on serial lines, Modbus and GPIO, runs an MQTT broker for the LAN, and hands every reading \
               upstream. While the network is away it keeps the readings on disk."
HOMEPAGE = "https://fieldgate.dev"
BUGTRACKER = "https://fieldgate.dev"
SECTION = "net"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"
CVE_PRODUCT = "fieldgate:fieldgate"

# The libraries, as Cargo.lock has them; written by the script `crates` beside the layer.
require fieldgate-crates.inc

inherit cargo externalsrc systemd useradd

# The layer stands in the tree whose program it builds.
EXTERNALSRC = "${@os.path.realpath(os.path.join(d.getVar('THISDIR'), '../../../..'))}"

CARGO_BUILD_FLAGS += "--locked --bin fieldgate"

SYSTEMD_SERVICE:${PN} = "fieldgate.service fieldgate-provision.service fieldgate-claim.service fieldgate-claim.path"

USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system fieldgate; --system gpio; --system i2c"
USERADD_PARAM:${PN} = "--system --gid fieldgate --groups dialout --home-dir ${localstatedir}/lib/fieldgate \
                       --no-create-home --shell ${base_sbindir}/nologin fieldgate"

do_install:append() {
    install -d ${D}${systemd_system_unitdir}
    for unit in fieldgate.service fieldgate-provision.service fieldgate-claim.service fieldgate-claim.path; do
        install -m 0644 ${S}/systemd/$unit ${D}${systemd_system_unitdir}/
    done
    install -D -m 0755 ${S}/systemd/show-claim ${D}${prefix}/lib/fieldgate/show-claim
    install -D -m 0644 ${S}/systemd/60-fieldgate.rules ${D}${nonarch_base_libdir}/udev/rules.d/60-fieldgate.rules
    install -D -m 0644 ${S}/systemd/fieldgate.tmpfiles ${D}${nonarch_libdir}/tmpfiles.d/fieldgate.conf
    install -d -m 0750 -o fieldgate -g fieldgate ${D}${sysconfdir}/fieldgate
    install -m 0640 -o fieldgate -g fieldgate ${S}/systemd/debian/fieldgate.toml ${D}${sysconfdir}/fieldgate/
    install -d ${D}${datadir}/fieldgate/profiles
    install -m 0644 ${S}/config/profiles/*.toml ${D}${datadir}/fieldgate/profiles/
}

FILES:${PN} += "${prefix}/lib/fieldgate ${nonarch_libdir}/tmpfiles.d ${nonarch_base_libdir}/udev"
CONFFILES:${PN} += "${sysconfdir}/fieldgate/fieldgate.toml"

RDEPENDS:${PN} += "ca-certificates"
RRECOMMENDS:${PN} += "kernel-module-cdc-acm kernel-module-usbserial kernel-module-ftdi-sio kernel-module-cp210x \
                      kernel-module-ch341 kernel-module-pl2303"
