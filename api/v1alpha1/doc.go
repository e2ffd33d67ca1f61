// Package v1alpha1 holds the objects a bank writes (Platform, Tenant, Waiver, Quarantine, Elevation, ImageImport) and the one Ringfence writes for it (Guard).
//
// It holds types and their schema only: no defaults are computed here, nothing is compiled and no cluster is called.
// The command line, the reconcilers and the tests of every package use it; it is the only supported Go API of Ringfence.
//
// +kubebuilder:object:generate=true
// +groupName=ringfence.dev
package v1alpha1

//go:generate go tool -modfile=../../tools/go.mod controller-gen object crd:crdVersions=v1 paths=. output:crd:dir=crds

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of every object in this package.
var GroupVersion = schema.GroupVersion{Group: "ringfence.dev", Version: "v1alpha1"}

// AddToScheme registers the objects of this package with scheme. It never fails; the error is there for
// callers that collect several such functions.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &Platform{}, &PlatformList{}, &Tenant{}, &TenantList{}, &Guard{}, &GuardList{}, &Waiver{}, &WaiverList{},
		&Quarantine{}, &QuarantineList{}, &Elevation{}, &ElevationList{}, &ImageImport{}, &ImageImportList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
