package portal

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/record"
)

// maxNamespaces is how many namespaces one question to the store of findings may name.
const maxNamespaces = 250

// meOutput says who asks.
type meOutput struct {
	Body struct {
		Name          string     `json:"name" doc:"the user as the API server names them"`
		Subject       string     `json:"subject"`
		Issuer        string     `json:"issuer"`
		Groups        []string   `json:"groups" nullable:"false" doc:"of the identity provider, as last verified; none are told to a token"`
		Verified      time.Time  `json:"verified" doc:"when they were"`
		MFA           bool       `json:"mfa" doc:"whether this session proved a second factor"`
		By            string     `json:"by" enum:"session,token" doc:"how the caller is known"`
		Scopes        []string   `json:"scopes" nullable:"false" doc:"of the token; none for a session, which may do all that its person may"`
		Auditor       bool       `json:"auditor" doc:"whether every namespace is seen"`
		Administrator bool       `json:"administrator" doc:"whether the access of others may be ended"`
		Roles         []roleView `json:"roles" nullable:"false" doc:"in which namespaces; none are told to a token without read:tenants"`
	}
}

// roleView is a namespace and the role there.
type roleView struct {
	Namespace   string `json:"namespace"`
	Tenant      string `json:"tenant"`
	Environment string `json:"environment"`
	Production  bool   `json:"production"`
	Role        string `json:"role" enum:"admin,readOnly,auditor"`
}

func (s sight) views(tenant string) []roleView {
	out := []roleView{}
	for _, name := range s.namespaces() {
		if place := s.places[name]; tenant == "" || place.Tenant == tenant {
			out = append(out, roleView{name, place.Tenant, place.Environment, place.Production, s.roles[name]})
		}
	}
	return out
}

func (p *Portal) me(ctx context.Context, _ *none) (*meOutput, error) {
	c := asker(ctx)
	s, err := p.see(ctx, c.who)
	if err != nil {
		return nil, err
	}
	out := &meOutput{}
	b := &out.Body
	b.Name, b.Subject, b.Issuer, b.MFA, b.By = c.who.Name, c.who.Subject, c.who.Issuer, c.who.MFA, bySession
	b.Auditor, b.Administrator, b.Groups, b.Scopes, b.Roles = s.auditor, s.administrator, []string{}, []string{}, []roleView{}
	if a := p.accounts.of(c.who); a != nil {
		b.Verified = a.Verified
	}
	if c.token != "" {
		b.By, b.Scopes = byToken, append(b.Scopes, c.scopes...)
	} else {
		b.Groups = append(b.Groups, c.who.Groups...)
	}
	if c.token == "" || slices.Contains(c.scopes, readTenants) {
		b.Roles = s.views("")
	}
	return out, nil
}

// tenantView is a tenant as its people see it.
type tenantView struct {
	Name         string     `json:"name"`
	Owner        string     `json:"owner"`
	Ring         string     `json:"ring" doc:"the roll-out ring; empty for none"`
	AdminGroup   string     `json:"adminGroup"`
	ReaderGroup  string     `json:"readOnlyGroup"`
	Environments []roleView `json:"environments" nullable:"false" doc:"those that may be looked into"`
}

func (s sight) tenant(t *v1alpha1.Tenant) tenantView {
	return tenantView{t.Name, t.Spec.Owner, t.Spec.Ring, t.Spec.Groups.Admin, t.Spec.Groups.ReadOnly, s.views(t.Name)}
}

// tenantList is an answer.
type tenantList struct {
	Body struct {
		Tenants []tenantView `json:"tenants" nullable:"false"`
	}
}

func (p *Portal) listTenants(ctx context.Context, _ *none) (*tenantList, error) {
	s, err := p.see(ctx, asker(ctx).who)
	if err != nil {
		return nil, err
	}
	out := &tenantList{}
	out.Body.Tenants = []tenantView{}
	for _, t := range s.tenants {
		out.Body.Tenants = append(out.Body.Tenants, s.tenant(t))
	}
	slices.SortFunc(out.Body.Tenants, func(a, b tenantView) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// nameInput names a tenant.
type nameInput struct {
	Name string `path:"name" pattern:"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"`
}

// tenantOutput is an answer.
type tenantOutput struct{ Body tenantView }

func (p *Portal) getTenant(ctx context.Context, in *nameInput) (*tenantOutput, error) {
	s, err := p.see(ctx, asker(ctx).who)
	if err != nil {
		return nil, err
	}
	t := s.tenants[in.Name]
	if t == nil {
		return nil, notYours("tenant")
	}
	return &tenantOutput{s.tenant(t)}, nil
}

// notYours is the same for what is not there and for what somebody may not see.
func notYours(what string) error {
	return problem(http.StatusNotFound, "not-found", "there is no such "+what+" that you may see; GET "+prefix+"/"+what+"s lists those; groups are the identity provider's, and sign-in reads them anew")
}

// namespaceList is an answer.
type namespaceList struct {
	Body struct {
		Namespaces []roleView `json:"namespaces" nullable:"false"`
	}
}

func (p *Portal) listNamespaces(ctx context.Context, _ *none) (*namespaceList, error) {
	s, err := p.see(ctx, asker(ctx).who)
	if err != nil {
		return nil, err
	}
	out := &namespaceList{}
	out.Body.Namespaces = s.views("")
	return out, nil
}

// findingsInput is a question.
type findingsInput struct {
	Tenant    string `query:"tenant" pattern:"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$" doc:"of one tenant alone"`
	Namespace string `query:"namespace" pattern:"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" doc:"of one namespace alone"`
	Control   string `query:"control" pattern:"^RF-[A-Z]{2}-[0-9]{2}$" doc:"of one control alone"`
	Since     string `query:"since" maxLength:"20" doc:"how far back, such as 90s, 10m or 24h; as far as there is without"`
	After     string `query:"after" maxLength:"200" doc:"the next of another page"`
}

// findingsOutput is an answer in the form of the command line's.
type findingsOutput struct{ Body record.Answer }

// listFindings answers of namespaces that are seen. The road of findings is asked for these alone, and what it answers is looked at once more.
func (p *Portal) listFindings(ctx context.Context, in *findingsInput) (*findingsOutput, error) {
	s, err := p.see(ctx, asker(ctx).who)
	if err != nil {
		return nil, err
	}
	q := record.Query{Filter: record.Filter{Control: in.Control}, After: in.After}
	var from time.Time
	if in.Since != "" {
		if q.Since, err = time.ParseDuration(in.Since); err != nil || q.Since <= 0 {
			return nil, problem(http.StatusUnprocessableEntity, "bad-request", "since: want a time above zero like 90s, 10m or 24h")
		}
		from = p.now().Add(-q.Since)
	}
	if q.Namespaces, err = s.asked(in.Tenant, in.Namespace); err != nil {
		return nil, err
	}
	out := &findingsOutput{Body: record.Answer{SchemaVersion: finding.SchemaVersion}}
	if q.Namespaces == nil || len(q.Namespaces) > 0 {
		if out.Body, err = p.cfg.Findings(ctx, from, q); err != nil {
			return nil, p.unanswered(err)
		}
	}
	b := &out.Body
	b.SchemaVersion = finding.SchemaVersion
	b.Unknown = append([]record.Gap{}, b.Unknown...)
	kept := make([]finding.Finding, 0, len(b.Findings))
	for _, f := range b.Findings {
		if q.Namespaces == nil || slices.Contains(q.Namespaces, f.Subject.Namespace) {
			kept = append(kept, f)
		}
	}
	b.Findings = kept
	return out, nil
}

// unanswered is the problem that the road of findings has no answer.
func (p *Portal) unanswered(err error) error {
	if errors.Is(err, record.ErrInvalid) {
		return problem(http.StatusUnprocessableEntity, "bad-request", finding.Clean(err.Error()))
	}
	p.cfg.Log.Error("findings cannot be read", "err", err)
	return problem(http.StatusServiceUnavailable, "undecided", "findings cannot be read now, which does not mean that there are none; try again, and tell the platform team if it lasts")
}

// asked are the namespaces of a question: nil is all, which only an auditor asks for; an empty list is none.
func (s sight) asked(tenant, namespace string) ([]string, error) {
	if tenant != "" && s.tenants[tenant] == nil {
		return nil, notYours("tenant")
	}
	if tenant == "" && s.auditor {
		if namespace != "" {
			return []string{namespace}, nil
		}
		return nil, nil
	}
	if namespace != "" && s.roles[namespace] == "" {
		return nil, notYours("namespace")
	}
	out := []string{}
	for _, name := range s.namespaces() {
		if (tenant == "" || s.places[name].Tenant == tenant) && (namespace == "" || name == namespace) {
			out = append(out, name)
		}
	}
	if len(out) > maxNamespaces {
		return nil, problem(http.StatusUnprocessableEntity, "bad-request", "you see too many namespaces for one question; name a tenant: ?tenant=NAME")
	}
	return out, nil
}

// waiversInput is a question.
type waiversInput struct {
	Tenant    string `query:"tenant" pattern:"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$" doc:"of one tenant alone"`
	Namespace string `query:"namespace" pattern:"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$" doc:"of one namespace alone"`
}

// waiverView is a waiver.
type waiverView struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Control   string   `json:"control"`
	Subjects  []string `json:"subjects" nullable:"false" doc:"Kind/name or Kind.group/name"`
	Reason    string   `json:"reason"`
	Ticket    string   `json:"ticket"`
	Owner     string   `json:"owner"`
	Requester string   `json:"requester"`
	Expires   string   `json:"expires" doc:"as it was asked for: an instant, or a date, which ends with that day in UTC"`
	Approver  *string  `json:"approver" doc:"null where nobody approved"`
	State     string   `json:"state" enum:"pending,live,expired"`
}

// waiverList is an answer.
type waiverList struct {
	Body struct {
		Waivers []waiverView `json:"waivers" nullable:"false"`
	}
}

func (p *Portal) listWaivers(ctx context.Context, in *waiversInput) (*waiverList, error) {
	s, err := p.see(ctx, asker(ctx).who)
	if err != nil {
		return nil, err
	}
	asked, err := s.asked(in.Tenant, in.Namespace)
	if err != nil {
		return nil, err
	}
	all := []v1alpha1.Waiver{}
	for _, namespace := range asked {
		some, err := p.cfg.Estate.Waivers(ctx, namespace)
		if err != nil {
			return nil, p.blind(err)
		}
		all = append(all, some...)
	}
	if asked == nil {
		if all, err = p.cfg.Estate.Waivers(ctx, ""); err != nil {
			return nil, p.blind(err)
		}
	}
	out := &waiverList{}
	out.Body.Waivers = make([]waiverView, 0, len(all))
	for _, w := range all {
		out.Body.Waivers = append(out.Body.Waivers, waiverOf(w, p.now()))
	}
	slices.SortFunc(out.Body.Waivers, func(a, b waiverView) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return out, nil
}

func waiverOf(w v1alpha1.Waiver, now time.Time) waiverView {
	v := waiverView{Namespace: w.Namespace, Name: w.Name, Control: w.Spec.Control, Subjects: []string{}, Reason: w.Spec.Reason, Ticket: w.Spec.Ticket,
		Owner: w.Spec.Owner, Requester: w.Spec.Requester, Expires: w.Spec.Expires, State: "pending"}
	for _, o := range w.Spec.Subjects {
		v.Subjects = append(v.Subjects, v1alpha1.WaiverKey(o.APIGroup, o.Kind, o.Name))
	}
	if a := w.Status.Approval; a != nil {
		v.Approver, v.State = &a.Approver, "live"
	}
	if !now.Before(ends(w.Spec.Expires)) {
		v.State = "expired"
	}
	return v
}

// ends is the end of a waiver; one that cannot be read has ended.
func ends(expires string) time.Time {
	if day, err := time.Parse(time.DateOnly, expires); err == nil {
		return day.AddDate(0, 0, 1)
	}
	at, err := time.Parse(time.RFC3339, expires)
	if err != nil {
		return time.Time{}
	}
	return at
}
