package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/admission"
	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/registry"
	"ringfence.dev/ringfence/mutate"
)

// RegistriesConfig is how the registries are reached that the Platform grants.
type RegistriesConfig struct {
	// CA is a file of authorities that are trusted beside the system's; "" is none.
	CA string
	// Auths is a file of credentials in the form of a pull secret; "" is nobody's, or what docker login keeps for this user.
	Auths string
	// Also are hosts, with a port or without, that are asked where a registry says so: which give out its tokens.
	Also []string
	// Signatures has the signatures looked up that the Platform's trust rules demand; it needs ImageFacts, a folder that can be written to.
	Signatures bool
}

// maxAsked is how many tags of one object are asked about; the others are kept as they are.
const maxAsked = 20

// openRegistries makes what asks the registries. attached bounds what is read of all that is attached to an image; zero is the usual.
func openRegistries(cfg RegistriesConfig, attached int64) (*registry.Client, error) {
	options := registry.Options{Agent: "ringfence", Alone: true, Also: cfg.Also, Auths: cfg.Auths, Attached: attached}
	if cfg.CA != "" {
		text, err := os.ReadFile(cfg.CA)
		if err != nil {
			return nil, fmt.Errorf("read the authorities of registries: %w", err)
		}
		options.CA = text
	}
	c, err := registry.New(options)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.CA, err)
	}
	return c, nil
}

// pinTags writes digests behind tags of images in the registries that the Guard grants. What is not known is kept, with a warning that
// says why; the rules say whether it may run.
func pinTags(reader client.Reader, tags *registry.Tags, log *slog.Logger) admission.Fill {
	return func(ctx context.Context, w admission.Write) (f admission.Filling, err error) {
		guard, err := guardOf(ctx, reader, w.Namespace)
		if err != nil {
			return f, err
		}
		named := mutate.Tags(mutate.Request{Update: w.Update, Object: w.Object, Old: w.Old})
		asked := tagged(named, guard.Spec.Registries)
		if len(asked) > maxAsked {
			f.Warnings = append(f.Warnings, fmt.Sprintf("ringfence: %d different tags; only %d are asked about; fix: name the images by digest", len(asked), maxAsked))
			asked = asked[:maxAsked]
		}
		digests, said := make([]string, len(asked)), make([]string, len(asked))
		var group errgroup.Group
		for i, reference := range asked {
			group.Go(func() error {
				var since time.Time
				var fault error
				digests[i], since, fault = tags.Digest(ctx, reference)
				if fault != nil {
					log.Warn("a tag is not resolved", "image", image.Brief(reference), "err", fault)
				}
				said[i] = tagWarning(reference, since, fault)
				return nil
			})
		}
		_ = group.Wait() // each says itself what is wrong
		f.Warnings = append(f.Warnings, slices.DeleteFunc(said, func(s string) bool { return s == "" })...)
		f.Patch, err = mutate.Pinned(named, func(reference string) string {
			if i := slices.Index(asked, reference); i >= 0 {
				return digests[i]
			}
			return ""
		}).JSONPatch(w.Object)
		return f, err
	}
}

// tagged are the references to ask about, each once: of registries that are granted, and not known beforehand.
func tagged(named []mutate.Tag, registries []v1alpha1.Registry) (all []string) {
	for _, t := range named {
		if t.Kept == "" && granted(t.Reference, registries) && !slices.Contains(all, t.Reference) {
			all = append(all, t.Reference)
		}
	}
	return all
}

// granted tells whether a reference lies in one of the registries.
func granted(reference string, registries []v1alpha1.Registry) bool {
	return slices.ContainsFunc(registries, func(r v1alpha1.Registry) bool { return strings.HasPrefix(reference, string(r)+"/") })
}

// tagWarning is what whoever deploys is told of a tag; "" where all is well.
func tagWarning(reference string, since time.Time, fault error) string {
	switch {
	case errors.Is(fault, registry.ErrMissing):
		return image.Brief("ringfence: " + reference + ": the registry has no such image")
	case errors.Is(fault, registry.ErrAway): // why is the registry's own affair, and may name what a tenant shall not see
		return image.Brief("ringfence: " + reference + ": the registry gave no answer, and the tag stays as it is")
	case fault != nil:
		return image.Brief("ringfence: " + fault.Error())
	case !since.IsZero():
		return image.Brief("ringfence: " + reference + ": the registry gave no answer; it counts as at " + since.UTC().Format(time.RFC3339))
	}
	return ""
}
