package admission

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/control"
)

const (
	// RegistrationName is the name of the ValidatingWebhookConfiguration.
	RegistrationName = "ringfence"
	// WebhookSuffix ends the name of each webhook, behind that of its match group.
	WebhookSuffix = ".admission.ringfence.dev"
	// Path is where reviews are posted.
	Path = "/admit"
	// timeoutSeconds is how long the API server waits for an answer.
	timeoutSeconds = 5
	// annotationCatalogue names the digest of the catalogue, as it does on policies.
	annotationCatalogue = "ringfence.dev/catalogue"
	// account is who Ringfence is in a cluster. Its own writes are never sent here: it must be able to put itself right.
	account = "system:serviceaccount:" + v1alpha1.SystemNamespace + ":ringfence"
)

// Which controls a door judges, beside a list of ids; see Select.
const (
	Needed = "needed"
	All    = "all"
)

// Select is the part of a catalogue that the door judges: All of it; Needed, the controls that no native policy of this cluster
// can carry; or those with the given ids. native says that the cluster serves ValidatingAdmissionPolicies. A control whose
// groups are all Unreachable is judged by no door: the API server asks webhooks as little as policies about them.
func Select(cat *control.Catalogue, which string, native bool) (*control.Catalogue, error) {
	part := *cat
	part.Controls = nil
	reachable := func(c control.Control) bool {
		return slices.ContainsFunc(cat.Groups(), func(g control.Group) bool { return g.Holds(c) && !g.Unreachable })
	}
	switch which {
	case All:
		part.Controls = slices.DeleteFunc(slices.Clone(cat.Controls), func(c control.Control) bool { return !reachable(c) })
		return &part, nil
	case Needed:
		if !native {
			return Select(cat, All, native)
		}
		return &part, nil // CEL says all that the catalogue asks today
	}
	for id := range strings.SplitSeq(which, ",") {
		c, ok := cat.Find(strings.TrimSpace(id))
		if !ok {
			return nil, fmt.Errorf("controls of the webhook: found %q; want %s, %s or ids of controls, separated by commas", id, Needed, All)
		}
		if !reachable(c) {
			return nil, fmt.Errorf("controls of the webhook: %s judges kinds about which the API server asks nobody; fix: leave it out", c.ID)
		}
		if !slices.ContainsFunc(part.Controls, func(have control.Control) bool { return have.ID == c.ID }) {
			part.Controls = append(part.Controls, c)
		}
	}
	return &part, nil
}

// Client is where the API server finds the door: a Service, or an address for a door outside of the cluster.
type Client struct {
	// Namespace, Name and Port are of the Service.
	Namespace, Name string
	Port            int32
	// URL is https://HOST:PORT without a path.
	URL string
}

// ParseClient reads NAMESPACE/NAME or NAMESPACE/NAME:PORT of a Service, or the address of a door; one of them is empty.
func ParseClient(service, url string) (c Client, err error) {
	if (service == "") == (url == "") {
		return c, fmt.Errorf("register the webhook: want a Service or an address, one of them; found %q and %q", service, url)
	}
	if url != "" {
		rest, ok := strings.CutPrefix(url, "https://")
		if !ok || rest == "" || strings.ContainsAny(rest, "/?#@") {
			return c, fmt.Errorf("register the webhook: found address %q; want https://HOST:PORT", url)
		}
		return Client{URL: url}, nil
	}
	place, port, _ := strings.Cut(service, ":")
	c.Port = 443
	if port != "" {
		if _, err := fmt.Sscanf(port, "%d", &c.Port); err != nil || c.Port < 1 || c.Port > 65535 {
			return c, fmt.Errorf("register the webhook: found port %q; want 1 to 65535", port)
		}
	}
	c.Namespace, c.Name, _ = strings.Cut(place, "/")
	if c.Namespace == "" || c.Name == "" || strings.Contains(c.Name, "/") {
		return c, fmt.Errorf("register the webhook: found Service %q; want NAMESPACE/NAME or NAMESPACE/NAME:PORT", service)
	}
	return c, nil
}

// ServerNames are the names that a certificate of the door must have.
func (c Client) ServerNames() []string {
	if c.URL == "" {
		return []string{c.Name + "." + c.Namespace + ".svc"}
	}
	host := strings.TrimPrefix(c.URL, "https://")
	if i := strings.LastIndex(host, ":"); i > strings.LastIndex(host, "]") {
		host = host[:i]
	}
	return []string{strings.Trim(host, "[]")}
}

// config is the part of a webhook that says where it is.
func (c Client) config(ca []byte) admissionv1.WebhookClientConfig {
	if c.URL != "" {
		return admissionv1.WebhookClientConfig{URL: new(c.URL + Path), CABundle: ca}
	}
	return admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: c.Namespace, Name: c.Name, Port: new(c.Port), Path: new(Path)}, CABundle: ca}
}

// Registration tells the API server what to ask the door about: one webhook for each match group that has controls, for its kinds
// and subresources by name. It refuses while the door is down. Never asked about are exempt namespaces, what Ringfence's own
// account writes, and what the group's native bundles leave alone. ca are the certificates to trust. It has no webhooks where the
// catalogue has no controls.
func Registration(cat *control.Catalogue, exempt []string, at Client, ca []byte) *admissionv1.ValidatingWebhookConfiguration {
	exempt = append(slices.Clone(v1alpha1.PinnedExemptNamespaces), exempt...)
	slices.Sort(exempt)
	exempt = slices.Compact(exempt)
	out := &admissionv1.ValidatingWebhookConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "ValidatingWebhookConfiguration"},
		ObjectMeta: metav1.ObjectMeta{Name: RegistrationName, Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy},
			Annotations: map[string]string{annotationCatalogue: cat.Digest}},
	}
	seen := map[string]bool{}
	for _, g := range cat.Groups() {
		if g.Unreachable {
			continue
		}
		kinds := slices.DeleteFunc(judgedKinds(g, cat.Controls), func(k control.Kind) bool { return seen[k.APIGroup+"/"+k.Kind] })
		for _, k := range kinds {
			seen[k.APIGroup+"/"+k.Kind] = true // a second template of the same object is judged with the first
		}
		if len(kinds) == 0 {
			continue
		}
		conditions := []admissionv1.MatchCondition{{Name: "not-ringfence", Expression: "request.userInfo.username != '" + account + "'"}}
		if g.Unless != "" {
			conditions = append(conditions, admissionv1.MatchCondition{Name: "not-the-control-plane", Expression: "!(" + g.Unless + ")"})
		}
		out.Webhooks = append(out.Webhooks, admissionv1.ValidatingWebhook{
			Name:            g.Name + WebhookSuffix,
			ClientConfig:    at.config(ca),
			Rules:           rules(kinds),
			FailurePolicy:   new(admissionv1.Fail),
			MatchPolicy:     new(admissionv1.Equivalent),
			ObjectSelector:  &metav1.LabelSelector{},
			MatchConditions: conditions,
			NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
				Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpNotIn, Values: exempt,
			}}},
			SideEffects:             new(admissionv1.SideEffectClassNone),
			TimeoutSeconds:          new(int32(timeoutSeconds)),
			AdmissionReviewVersions: []string{"v1"},
		})
	}
	return out
}

// rules are the doors to the kinds by name, one rule an API group, version and scope: v1, or each version as it comes where the
// kind has no one version.
func rules(kinds []control.Kind) (out []admissionv1.RuleWithOperations) {
	for _, k := range kinds {
		version, scope := cmp.Or(k.Version, "v1"), admissionv1.NamespacedScope
		if k.ClusterScoped {
			scope = admissionv1.ClusterScope
		}
		group, names := k.Door()
		var operations []admissionv1.OperationType
		for _, name := range names {
			operations = append(operations, admissionv1.OperationType(name))
		}
		i := slices.IndexFunc(out, func(r admissionv1.RuleWithOperations) bool {
			return r.APIGroups[0] == group && r.APIVersions[0] == version && *r.Scope == scope && slices.Equal(r.Operations, operations)
		})
		if i < 0 {
			i = len(out)
			out = append(out, admissionv1.RuleWithOperations{
				Operations: operations,
				Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Scope: &scope},
			})
		}
		out[i].Resources = append(out[i].Resources, k.Resource)
		for _, sub := range k.Subresources {
			out[i].Resources = append(out[i].Resources, k.Resource+"/"+sub)
		}
	}
	return out
}

// judgedKinds are those of a group that one of the controls judges.
func judgedKinds(g control.Group, controls []control.Control) (kinds []control.Kind) {
	for _, k := range g.Kinds {
		if slices.ContainsFunc(controls, func(c control.Control) bool {
			only := g.Only(c)
			return g.Holds(c) && (only == nil || slices.Contains(only, k.Kind))
		}) {
			kinds = append(kinds, k)
		}
	}
	return kinds
}
