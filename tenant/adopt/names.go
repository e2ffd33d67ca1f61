package adopt

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// The bounds of names, as the Tenant's schema has them.
const (
	maxTenantName      = 40
	maxEnvironmentName = 20
	maxEnvironments    = 20
)

// environmentWords are how banks call environments; those of production stand in productionWords too.
const (
	environmentWords = " dev develop development devel test tst testing t int integration sit uat acc acceptance qa qs quality stage staging stg " +
		"preprod preproduction pre nonprod prod production prd live sandbox sbx demo perf performance load nft dr poc lab training trn preview hotfix ci e2e play sim " +
		"d u p "
	productionWords = " prod production prd live dr p "
	// shortWords count only where another namespace of the tenant bears a word that is no letter or another letter.
	shortWords = " t d u p "
)

// word is an environment's word without its number: uat2 is uat.
func word(part string) string {
	return strings.TrimRight(part, "0123456789")
}

// isEnvironment reports whether a part of a name is an environment's word, such as dev, uat2 or prd.
func isEnvironment(part string) bool {
	w := word(part)
	return w != "" && strings.Contains(environmentWords, " "+w+" ")
}

func isShort(part string) bool { return strings.Contains(shortWords, " "+word(part)+" ") }

func isProduction(part string) bool { return strings.Contains(productionWords, " "+word(part)+" ") }

// split is a namespace's name as tenant and environment; ok is false where no part of it is an environment's word. Where the
// word is a single letter, short is true.
func split(name string) (tenant, environment string, short, ok bool) {
	for _, pair := range []string{"-pre-prod", "-non-prod"} { // words with a dash in them
		if before, found := strings.CutSuffix(name, pair); found && before != "" {
			return before, strings.ReplaceAll(pair, "-", ""), false, true
		}
	}
	parts := strings.Split(name, "-")
	if len(parts) < 2 {
		return "", "", false, false
	}
	last := len(parts) - 1
	for _, try := range []int{last, last - 1} { // payments-dev, payments-dev-eu
		if try >= 1 && isEnvironment(parts[try]) && (try == last || !isShort(parts[try])) {
			return strings.Join(parts[:try], "-"), strings.Join(parts[try:], ""), isShort(parts[try]), true
		}
	}
	if isEnvironment(parts[0]) && !isShort(parts[0]) { // dev-payments
		return strings.Join(parts[1:], "-"), parts[0], false, true
	}
	for i := 1; i < last; i++ { // payments-dev-api-eu
		if isEnvironment(parts[i]) && !isShort(parts[i]) {
			return strings.Join(parts[:i], "-"), strings.Join(parts[i:], ""), false, true
		}
	}
	return "", "", false, false
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// legal makes a tenant's name of what the estate calls it; it is "" where nothing is left. What is too long is cut and told
// apart by a hash of the whole.
func legal(text string) string {
	name := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(text), "-"), "-")
	if name == "" {
		return ""
	}
	if name[0] >= '0' && name[0] <= '9' {
		name = "t-" + name
	}
	return short(name, maxTenantName, "-")
}

// short cuts a name to a length, with a hash of the whole at its end.
func short(name string, most int, gap string) string {
	if len(name) <= most {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	tail := gap + hex.EncodeToString(sum[:])[:6]
	return strings.TrimRight(name[:most-len(tail)], "-") + tail
}

var notInEnvironments = regexp.MustCompile(`[^a-z0-9]+`)

// environmentName makes an environment's name of text, "" where nothing is left.
func environmentName(text string) string {
	return short(notInEnvironments.ReplaceAllString(strings.ToLower(text), ""), maxEnvironmentName, "")
}
