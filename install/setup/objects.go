package setup

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// AnnotationWhy on an object of the chart says what it is for.
const AnnotationWhy = "ringfence.dev/why"

// order is that in which objects are applied, and removed from the end: what others name comes first. Kinds that it does not name come
// before processes, which are the last two.
var order = [...]string{"Namespace", "PriorityClass", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
	"PersistentVolumeClaim", "Certificate", "Service", "NetworkPolicy", "PodDisruptionBudget", "CronJob", "Deployment"}

func rank(o *unstructured.Unstructured) int {
	if i := slices.Index(order[:], o.GetKind()); i >= 0 {
		return i
	}
	return len(order) - len(processes) - 1
}

// Read reads the objects of texts of YAML, as a chart is rendered, in the order in which they are applied. Each must say why it is there.
func Read(texts ...[]byte) (all []*unstructured.Unstructured, err error) {
	for _, text := range texts {
		docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
		for {
			doc, err := docs.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			o := &unstructured.Unstructured{}
			if err == nil {
				err = yaml.Unmarshal(doc, &o.Object)
			}
			if err != nil {
				return nil, fmt.Errorf("read the objects to install: %w", err)
			}
			if len(o.Object) == 0 {
				continue
			}
			if o.GetKind() == "" || o.GetName() == "" || o.GetAnnotations()[AnnotationWhy] == "" {
				return nil, fmt.Errorf("read the objects to install: want kind, name and annotation %s; found %q %q", AnnotationWhy, o.GetKind(), o.GetName())
			}
			all = append(all, o)
		}
	}
	slices.SortStableFunc(all, func(a, b *unstructured.Unstructured) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.GetName(), b.GetName()))
	})
	return all, nil
}

// Write writes objects as YAML that kubectl takes.
func Write(out io.Writer, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		text, err := yaml.Marshal(o.Object)
		if err != nil {
			return fmt.Errorf("write %s %s: %w", o.GetKind(), o.GetName(), err)
		}
		if _, err := fmt.Fprintf(out, "---\n%s", text); err != nil {
			return err
		}
	}
	return nil
}
