SUMMARY = "A field gateway that nobody needs to look after"
DESCRIPTION = "Root is read-only. What changes of /etc lies over it on a partition of its own, so that the machine's id \
               and the config last; what the gateway keeps has another partition, so that neither can fill the other."
HOMEPAGE = "https://fieldgate.dev"
BUGTRACKER = "https://fieldgate.dev"
SECTION = "images"
LICENSE = "Apache-2.0"
CVE_PRODUCT = ""

inherit core-image

IMAGE_FEATURES += "read-only-rootfs overlayfs-etc"
# Of the modules it needs overlayfs for its /etc, and the drivers of serial adapters.
IMAGE_INSTALL += "packagegroup-core-boot kernel-modules fieldgate"
IMAGE_FSTYPES = "wic wic.bmap"
WKS_FILE = "fieldgate.wks.in"
WKS_FILE_DEPENDS += "e2fsprogs-native dosfstools-native mtools-native"

# The disk, and how its third partition is called: machines with an SD card, or as the kas files say.
FIELDGATE_DISK ??= "mmcblk0"
FIELDGATE_DISK_PART ??= "${FIELDGATE_DISK}p"

OVERLAYFS_ETC_MOUNT_POINT = "/overlay"
OVERLAYFS_ETC_DEVICE = "/dev/${FIELDGATE_DISK_PART}3"
OVERLAYFS_ETC_FSTYPE = "ext4"
