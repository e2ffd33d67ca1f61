package auditlog

import (
	"net/url"
	"strings"

	"ringfence.dev/ringfence/record"
)

// accountPrefix begins the user names of ServiceAccounts, and elevationPrefix the names of those of elevations. Native policies see
// to it that Ringfence alone makes such accounts.
const accountPrefix, elevationPrefix = "system:serviceaccount:", "elevation-"

// ActOf is what an event tells of a request under an elevation, and false where it tells of none: what others asked for, and what has
// not been answered. Reads and refusals are told too.
func ActOf(e Event) (record.Act, bool) {
	if e.Stage != "ResponseComplete" && e.Stage != "Panic" {
		return record.Act{}, false
	}
	account, ok := strings.CutPrefix(e.User.Username, accountPrefix)
	_, name, found := strings.Cut(account, ":")
	if !ok || !found || !strings.HasPrefix(name, elevationPrefix) {
		return record.Act{}, false
	}
	path, query, _ := strings.Cut(e.RequestURI, "?")
	a := record.Act{Account: clean(e.User.Username, maxName), Time: e.RequestReceivedTimestamp.UTC(), Verb: clean(e.Verb, maxName), Path: clean(path, maxMessage), AuditID: clean(e.AuditID, maxName)}
	if ref := e.ObjectRef; ref != nil {
		a.APIGroup, a.Resource, a.Subresource = clean(ref.APIGroup, maxName), clean(ref.Resource, maxName), clean(ref.Subresource, maxName)
		a.Namespace, a.Name = clean(ref.Namespace, maxName), clean(ref.Name, maxName)
	}
	if e.ResponseStatus != nil {
		a.Code = e.ResponseStatus.Code
	}
	if a.Subresource == "exec" {
		values, _ := url.ParseQuery(query) // what cannot be parsed is left out, by the API server too
		a.Program = clean(values.Get("command"), maxName)
	}
	return a, true
}
