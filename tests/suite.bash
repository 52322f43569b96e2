# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# Downloads packages of any Debian suite without installing them.
#
# Theory of operation: apt-get works on separate lists and a separate configuration in $work, a
# directory that the caller provides, with one suite of the mirror that this machine uses. The
# caller also provides die MESSAGE, which ends the script.

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# mirror: prints the URI of the Debian mirror that this machine uses, or nothing.
# shellcheck disable=SC2016 # apt-get's variable
mirror() {
	apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" \
		"Origin: Debian" "Label: Debian" | head -n 1
}

# shellcheck disable=SC2154 # work is the caller's
# apt COMMAND...: runs apt-get or apt-cache with the lists of the suite only.
apt() {
	local command=$1

	shift
	"$command" -o Dir::Etc::SourceList="$work/sources" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
		-o Dir::State::Lists="$work/lists" -o Dir::State::Status=/dev/null \
		-o Dir::Cache="$work" -o APT::Architecture=amd64 -o APT::Architectures=amd64 \
		-o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}

# update SUITE: downloads the package lists of this suite.
update() {
	local uri

	uri=$(mirror)
	[ -n "$uri" ] || die "found no Debian mirror; run 'apt-get update' once"
	[ -e $KEYRING ] || die "no $KEYRING; install debian-archive-keyring"
	echo "deb [signed-by=$KEYRING] $uri $1 main" >"$work/sources"
	mkdir -p "$work/lists/partial" "$work/archives/partial"
	apt apt-get -qq update
}
