package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ringfence.dev/ringfence/control"
)

// Resource is a kind as this server serves it.
type Resource struct {
	control.Kind
	// Version is the version that is listed.
	Version string
	// Namespaced says whether its objects lie in namespaces.
	Namespaced bool
}

// APIVersion is group/version, as objects say it.
func (r Resource) APIVersion() string {
	if r.APIGroup == "" {
		return r.Version
	}
	return r.APIGroup + "/" + r.Version
}

// String is the resource as kubectl names it, for instance deployments.apps.
func (r Resource) String() string {
	if r.APIGroup == "" {
		return r.Resource
	}
	return r.Resource + "." + r.APIGroup
}

// path is where the objects are: of one namespace, or "" for all.
func (r Resource) path(namespace string) string {
	path := root(r.APIGroup, r.Version)
	if namespace != "" {
		path += "/namespaces/" + namespace
	}
	return path + "/" + r.Resource
}

func root(group, version string) string {
	if group == "" {
		return "/api/" + version
	}
	return "/apis/" + group + "/" + version
}

// Unasked is a part of the API that could not be asked about: whether the kinds of its group are served is not known.
type Unasked struct {
	Group string
	Err   error
}

// Error implements error.
func (u *Unasked) Error() string { return u.Err.Error() }

// Unwrap is the fault itself.
func (u *Unasked) Unwrap() error { return u.Err }

// discovery is what is known of what the server serves.
type discovery struct {
	*Cluster
	groups map[string][]string // the versions, the preferred one first
	served map[string][]metav1.APIResource
	broken map[string]bool // by group and version: it was told already
	faults []error
}

// Resources are those of the kinds that the server serves, each once and in order: at the kind's version, or where it has
// none of its own at the one the server prefers. Each fault is an Unasked. The error says that nothing can be asked.
func (c *Cluster) Resources(ctx context.Context, kinds []control.Kind) (resources []Resource, faults []error, err error) {
	d := &discovery{Cluster: c, groups: map[string][]string{"": {"v1"}}, served: map[string][]metav1.APIResource{}, broken: map[string]bool{}}
	var list metav1.APIGroupList
	if err := d.read(ctx, "/apis", &list); err != nil {
		return nil, nil, explain(fmt.Errorf("ask what the API server serves: %w", err))
	}
	for _, group := range list.Groups {
		versions := []string{group.PreferredVersion.Version}
		for _, v := range group.Versions {
			if v.Version != group.PreferredVersion.Version {
				versions = append(versions, v.Version)
			}
		}
		d.groups[group.Name] = versions
	}
	for _, kind := range kinds {
		r, err := d.resource(ctx, kind)
		if err != nil {
			return nil, nil, err
		}
		if r != nil {
			resources = append(resources, *r)
		}
	}
	return resources, d.faults, nil
}

// resource is one kind's, nil where it is not served. The error ends it all.
func (d *discovery) resource(ctx context.Context, kind control.Kind) (*Resource, error) {
	for _, version := range d.groups[kind.APIGroup] {
		if kind.Version != "*" && version != kind.Version && (kind.Version != "" || version != "v1") {
			continue
		}
		at := root(kind.APIGroup, version)
		if _, known := d.served[at]; !known && !d.broken[at] {
			if err := d.ask(ctx, kind.APIGroup, at); err != nil {
				return nil, err
			}
		}
		for _, s := range d.served[at] {
			if s.Kind == kind.Kind && !strings.Contains(s.Name, "/") && slices.Contains(s.Verbs, "list") {
				kind.Resource = s.Name
				return &Resource{kind, version, s.Namespaced}, nil
			}
		}
	}
	return nil, nil
}

// ask asks what a version of a group serves.
func (d *discovery) ask(ctx context.Context, group, at string) error {
	var list metav1.APIResourceList
	err := d.read(ctx, at, &list)
	r := (*refusal)(nil)
	switch {
	case err == nil, errors.As(err, &r) && r.code == http.StatusNotFound:
		d.served[at] = list.APIResources
	case ctx.Err() != nil || errors.Is(err, ErrUnreachable):
		return err
	default:
		d.broken[at] = true
		d.faults = append(d.faults, &Unasked{group, fmt.Errorf("ask what %s serves: %w; its kinds were not judged", at, err)})
	}
	return nil
}

func (d *discovery) read(ctx context.Context, path string, into any) error {
	return d.get(ctx, path, nil, "application/json", func(body io.Reader) error {
		text, err := io.ReadAll(io.LimitReader(body, maxAnswer))
		if err != nil {
			return d.unreachable(err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			return fmt.Errorf("%s is no API server: %s; check the kubeconfig", d.server, short(err.Error()))
		}
		return nil
	})
}
