package access

import (
	"fmt"
	"strconv"

	"ringfence.dev/ringfence/identity"
)

// rule is one CEL expression that must be true, and what is said where it is not. The API server writes the message to its log
// and answers 401.
type rule struct {
	Expression string `json:"expression"`
	Message    string `json:"message"`
}

// extra is one key of a user that policies read.
type extra struct {
	Key             string `json:"key"`
	ValueExpression string `json:"valueExpression"`
}

// The expressions keep to what a 1.30 knows, and to what the API server's own map of claims can do: it answers claims[?"name"]
// and not `"name" in claims`. All of them are evaluated before any message is looked at, and an error in one hides the others'
// messages, so each stands on its own legs whatever a claim turns out to be.

// claim is the value of a claim, or instead where the token has none.
func claim(name, instead string) string {
	return fmt.Sprintf("dyn(claims[?%s].orValue(%s))", strconv.Quote(name), instead)
}

// isList asks whether a claim is there and a list.
func isList(name string) string { return fmt.Sprintf(`type(%s) == list`, claim(name, `""`)) }

// groups are the names of the token's groups. An object's keys are no groups, and a text is not one: claimRules refuse both.
func (o *Options) groups() string {
	name := o.Identity.GroupsClaim
	return fmt.Sprintf(`%s ? %s.filter(g, type(g) == string).map(g, %s + string(g)) : []`, isList(name), claim(name, "[]"), strconv.Quote(o.groupPrefix()))
}

// secondFactor asks whether acr, amr or acrs hold the value that proves one. Providers write amr as a list, and some as a text.
func (o *Options) secondFactor() string {
	value := strconv.Quote(o.Identity.MFA)
	one := func(name string) string {
		return fmt.Sprintf(`(%s ? %s in %s : %s == %s)`, isList(name), value, claim(name, "[]"), claim(name, `""`), value)
	}
	return one("acr") + " || " + one("amr") + " || " + one("acrs")
}

// extras mark what policies read.
func (o *Options) extras() []extra {
	marks := []extra{{identity.ExtraObject, fmt.Sprintf(`type(%s) == string ? %[1]s : ""`, claim("oid", `""`))}}
	if o.Identity.MFA != "" {
		marks = append(marks, extra{identity.ExtraMFA, fmt.Sprintf(`%s ? "true" : ""`, parenthesize(o.secondFactor()))})
	}
	return marks
}

func parenthesize(expression string) string { return "(" + expression + ")" }

// claimRules are what a token must hold.
func (o *Options) claimRules() (rules []rule) {
	add := func(message, format string, args ...any) {
		rules = append(rules, rule{fmt.Sprintf(format, args...), message})
	}
	groups := o.Identity.GroupsClaim
	if directory := o.Identity.Directory; directory != "" {
		add("this token is of another directory; sign in to the bank's own, "+directory, `%s == %s`, claim("tid", `""`), strconv.Quote(directory))
	}
	add(fmt.Sprintf("claim %s, which names the user, is missing, empty or no text", o.Identity.UserClaim), `type(%s) == string && %[1]s != ""`, claim(o.Identity.UserClaim, `""`))
	leftOut := fmt.Sprintf(`!(%s in %s)`, strconv.Quote(groups), claim("_claim_names", "{}"))
	if groups == "groups" { // hasgroups speaks of no other claim: who uses application roles is not kept out by it
		leftOut += fmt.Sprintf(` && %s == false`, claim("hasgroups", "false"))
	}
	add("the provider left the groups out of this token because there are too many of them; have it send the groups that are assigned to the application, or application roles, and sign in again",
		`%s`, leftOut)
	add(fmt.Sprintf("claim %s is missing or is no list; have the provider send the groups as a list of names", groups), `%s`, isList(groups))
	add(fmt.Sprintf("claim %s holds something else than names; have the provider send the groups as a list of names", groups),
		`!(%s) || %s.all(g, type(g) == string)`, isList(groups), claim(groups, "[]"))
	add(fmt.Sprintf("claim %s holds more than %d groups; have the provider send only those that are assigned to the application", groups, maxGroups),
		`!(%s) || size(%s) <= %d`, isList(groups), claim(groups, "[]"), maxGroups)
	add(fmt.Sprintf("this token lives longer than %d hours, or does not say since when; shorten its lifetime at the provider", maxLifetime/3600),
		`claims[?"iat"].hasValue() && double(claims.exp) - double(claims.iat) <= %d.0`, maxLifetime)
	add("claim oid is no text", `type(%s) == string`, claim("oid", `""`))
	if o.Identity.UserClaim == "email" {
		add("the provider does not say that it verified the address in claim email; have it send email_verified, or name another claim in spec.identity.userClaim",
			`%s == true`, claim("email_verified", "false"))
	}
	if o.RequireMFA {
		add("this cluster takes no token without a second factor; sign in again and show one", `%s`, o.secondFactor())
	}
	return rules
}

// userRules are what the user that a token makes must satisfy.
func userRules() []rule {
	return []rule{
		{`!user.username.matches("[[:cntrl:]]")`, "the user's name holds control characters"},
		{`!user.username.startsWith("system:")`, "a user of the identity provider is called as Kubernetes' own are (system:)"},
		{`!has(user.groups) || user.groups.all(g, !g.startsWith("system:") && !g.startsWith("kubeadm:"))`, "a group of the identity provider is called as Kubernetes' own are (system:, kubeadm:); set spec.identity.groupPrefix"},
	}
}
