package server

import (
	"context"
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/install"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/policy/bundle"
)

// keepKinds registers what keeps Ringfence's own kinds in place.
func (s *Server) keepKinds(mgr ctrl.Manager) error {
	k := &install.Kinds{Client: mgr.GetClient(), Metrics: s.kinds, Log: s.log, Now: time.Now}
	if err := k.Read(v1alpha1.CRDs()); err != nil {
		return err
	}
	if s.evidence != nil {
		k.OnGap = func(g install.Gap) {
			const kind = "CustomResourceDefinition"
			s.evidence.gap(bundle.Gap{Object: kind + "/" + g.Name, APIVersion: apiextensionsv1.SchemeGroupVersion.String(), Kind: kind, Name: g.Name,
				Cause: g.Cause, Noticed: g.Noticed, Closed: g.Closed})
		}
	}
	return k.SetupWithManager(mgr)
}

// followKinds has a mapper ask soon after a definition changed which kinds there are.
func followKinds(mgr ctrl.Manager, mapper *kube.Mapper) error {
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		informer, err := mgr.GetCache().GetInformer(ctx, &apiextensionsv1.CustomResourceDefinition{})
		if err == nil {
			_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: func(any) { mapper.Again() }, UpdateFunc: func(_, _ any) { mapper.Again() }})
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("watch which kinds there are: %w", err)
		}
		return nil
	}))
}

// newKinds holds an event when the cluster serves a kind that it did not serve before: one at most, for more say nothing more.
func newKinds(mapper *kube.Mapper) chan event.GenericEvent {
	told := make(chan event.GenericEvent, 1)
	mapper.New = func() {
		select {
		case told <- event.GenericEvent{Object: &v1alpha1.Platform{}}:
		default:
		}
	}
	return told
}

// known counts the objects that a bank wrote, by kind, as the cache has them; a kind that cannot be read now is left out.
func (s *Server) known() map[string]int {
	reader := s.guards.Load()
	if reader == nil || s.cfg.Replicas.WebhookOnly {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	counts := map[string]int{}
	var platforms v1alpha1.PlatformList
	if err := (*reader).List(ctx, &platforms, client.UnsafeDisableDeepCopy); err == nil {
		counts["Platform"] = len(platforms.Items)
	}
	var tenants v1alpha1.TenantList
	if err := (*reader).List(ctx, &tenants, client.UnsafeDisableDeepCopy); err == nil {
		counts["Tenant"] = len(tenants.Items)
	}
	var waivers v1alpha1.WaiverList
	if err := (*reader).List(ctx, &waivers, client.UnsafeDisableDeepCopy); err == nil {
		counts["Waiver"] = len(waivers.Items)
	}
	return counts
}
