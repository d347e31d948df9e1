#!/bin/sh
# Installs the Debian packages that the project needs, only those that are missing. Usage: deps.sh build|test|arch
set -eu

# What builds the suite and runs the demonstration ...
build="gcc libc6-dev make meson ninja-build pkg-config python3 iproute2
       libtalloc-dev libtevent-dev libtdb-dev libinih-dev libgnutls28-dev libjansson-dev libcurl4-gnutls-dev libcmocka-dev libtirpc-dev rpcsvc-proto"
# ... and what the tests need beyond that.
test="python3-pytest valgrind etcd-server etcd-client samba smbclient samba-testsuite tdb-tools groff-base man-db clang libclang-rt-14-dev"

# Other machines: compilers and emulation.
arch="qemu-user-static gcc-i686-linux-gnu gcc-s390x-linux-gnu"

case "${1:-}" in
build) wanted=$build ;;
test) wanted="$build $test" ;;
arch) wanted="$build $test $arch" ;;
*)
	echo "usage: $0 build|test|arch" >&2
	exit 2
	;;
esac

if ! command -v dpkg-query >/dev/null; then
	# Not a Debian: whatever is missing is reported by meson or the tests themselves.
	exit 0
fi

missing=
installed=$(dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' $wanted 2>/dev/null | sed -n 's/^ii *//p' || true)
for p in $wanted; do
	case "
$installed
" in
	*"
$p
"*) ;;
	*) missing="$missing $p" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "Packages are missing:$missing" >&2
	echo "Run this once, then try again:  sudo make deps" >&2
	exit 1
fi

# The services of the packages (smbd and friends) must not start on this machine: they are only wanted as programs.
policy=/usr/sbin/policy-rc.d
made_policy=
log=$(mktemp)
cleanup() {
	[ -z "$made_policy" ] || rm -f "$policy"
	rm -f "$log"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ ! -e "$policy" ]; then
	made_policy=yes
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi

echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 LC_ALL=C
apt="apt-get -qq -o DPkg::Lock::Timeout=120 -o Acquire::Retries=5"

install_missing() {
	# Completes an installation that was broken off.
	dpkg --configure -a || true
	$apt update && $apt -y --no-install-recommends -o Dpkg::Use-Pty=0 install $missing
}

# Several times: mirrors fail, and for the lock of the package lists, which others may have, apt-get does not wait.
for pause in 5 10 20 40 ""; do
	if install_missing >"$log" 2>&1 </dev/null; then
		exit 0
	fi
	if [ -n "$pause" ]; then
		echo "apt-get failed ($(tail -n 1 "$log")): trying again in $pause s" >&2
		sleep "$pause"
	fi
done
tail -n 30 "$log" >&2
echo "apt-get could not install the packages above; the reason is in its last lines" >&2
exit 1
