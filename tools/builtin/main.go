// Command builtin writes schema/builtin/kinds.txt: what Kubernetes' servers know of their own kinds, merged of the
// OpenAPI documents of eight minor versions.
//
// It downloads some hundred MB of modules and is therefore no part of `make generate`. Run it by hand, in the root of the
// repository, when a server version is added: go -C tools run ./builtin
package main

import (
	"bytes"
	"cmp"
	_ "embed" // optional.txt
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// servers are the releases that are merged, one for each minor version, oldest first.
func servers() []string {
	return []string{"1.30.14", "1.31.14", "1.32.13", "1.33.13", "1.34.4", "1.35.4", "1.36.3", "1.37.1"}
}

// optional are the fields that only the documents require.
//
//go:embed optional.txt
var optional string

// stable are the types of which it is known what is required: no alpha or beta.
var stable = regexp.MustCompile(`\.v[0-9]+\.`)

const output = "../schema/builtin/kinds.txt"

// document is what is read of an OpenAPI document.
type document struct {
	Definitions map[string]definition `json:"definitions"`
}

type definition struct {
	property
	Properties map[string]property                     `json:"properties"`
	Required   []string                                `json:"required"`
	Kinds      []struct{ Group, Kind, Version string } `json:"x-kubernetes-group-version-kind"`
}

type property struct {
	Ref        string    `json:"$ref"`
	Type       string    `json:"type"`
	Format     string    `json:"format"`
	Items      *property `json:"items"`
	Additional *property `json:"additionalProperties"`
}

func main() {
	log.SetFlags(0)
	newest := servers()[len(servers())-1]
	api, err := download("k8s.io/api@v0" + strings.TrimPrefix(newest, "1"))
	if err != nil {
		log.Fatal(err)
	}
	words, err := enumerations(api)
	if err != nil {
		log.Fatal(err)
	}
	merged := merge{words: words, kinds: map[string]uint{}, types: map[string]*kind{}}
	for i, version := range servers() {
		dir, err := download("k8s.io/kubernetes@v" + version)
		if err != nil {
			log.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, "api/openapi-spec/swagger.json"))
		if err != nil {
			log.Fatal(err)
		}
		var doc document
		if err := json.Unmarshal(text, &doc); err != nil {
			log.Fatalf("read the OpenAPI document of Kubernetes %s: %v", version, err)
		}
		merged.add(doc, i)
	}
	text := merged.text()
	if err := os.WriteFile(output, text, 0o644); err != nil {
		log.Fatal(err)
	}
	log.Printf("%s: %d kinds, %d types, %d bytes", output, len(merged.kinds), len(merged.types), len(text))
}

// download is the directory of a module.
func download(module string) (string, error) {
	get := exec.Command("go", "mod", "download", "-json", module)
	get.Dir, get.Stderr = os.TempDir(), os.Stderr
	out, err := get.Output()
	if err != nil {
		return "", fmt.Errorf("download %s: %w", module, err)
	}
	var answer struct{ Dir string }
	err = json.Unmarshal(out, &answer)
	return answer.Dir, err
}

// merge gathers what the servers know. A set of servers is a number with the bit i set for the server i.
type merge struct {
	// words are the enumerations.
	words map[string][]string
	kinds map[string]uint // "apps/v1 Deployment apps.v1.Deployment"
	types map[string]*kind
}

type kind struct {
	in     uint
	fields map[string]uint // "replicas int32"
	// required is what the newest server that has the type requires. The servers' code refused the same before; the older
	// documents are more often wrong.
	required []string
}

func (m *merge) add(doc document, server int) {
	bit := uint(1) << server
	for name, d := range doc.Definitions {
		for _, k := range d.Kinds {
			if len(d.Kinds) == 1 {
				m.kinds[strings.TrimPrefix(k.Group+"/"+k.Version, "/")+" "+k.Kind+" "+short(name)] |= bit
			}
		}
		if len(d.Properties) == 0 && form(property{Ref: name}) != short(name) {
			continue
		}
		t := m.types[short(name)]
		if t == nil {
			t = &kind{fields: map[string]uint{}}
			m.types[short(name)] = t
		}
		t.in, t.required = t.in|bit, d.Required
		for field, p := range d.Properties {
			t.fields[field+" "+form(p)] |= bit
		}
	}
}

// short is a definition's name without what they all begin with.
func short(name string) string {
	for _, prefix := range []string{"#/definitions/", "io.k8s.", "api.", "apimachinery.pkg.", "kube-aggregator.pkg.", "apiextensions-apiserver.pkg.", "apis.", "api.", "util."} {
		name = strings.TrimPrefix(name, prefix)
	}
	return name
}

// form writes a type: a word for what has a form of its own, []T, map T, or the name of a type.
func form(p property) string {
	switch {
	case p.Ref != "":
		name := short(p.Ref)
		switch name {
		case "resource.Quantity":
			return "quantity"
		case "intstr.IntOrString":
			return "int-or-string"
		case "meta.v1.Time", "meta.v1.MicroTime":
			return "time"
		case "meta.v1.FieldsV1", "meta.v1.Patch", "runtime.RawExtension", "apiextensions.v1.JSON", "apiextensions.v1.JSONSchemaPropsOrArray",
			"apiextensions.v1.JSONSchemaPropsOrBool", "apiextensions.v1.JSONSchemaPropsOrStringArray":
			return "any" // decoded by code of their own, which asks no schema
		}
		return name
	case p.Type == "array":
		return "[]" + form(*p.Items)
	case p.Type == "object" && p.Additional != nil:
		return "map:" + form(*p.Additional)
	case p.Type == "object":
		return "map:any"
	case p.Type == "string" && p.Format == "byte":
		return "bytes"
	case p.Type == "string" && p.Format == "", p.Type == "boolean":
		return p.Type
	case p.Format == "int32", p.Format == "int64", p.Format == "double":
		return p.Format
	}
	log.Fatalf("no word for type %q with format %q", p.Type, p.Format)
	return ""
}

const header = `# What Kubernetes' servers know of their own kinds, merged of their OpenAPI documents (Apache License 2.0) by
# tools/builtin. Do not edit. After a name and its type: the minor versions that have it, where not all do that have the
# type; "!" is required.
`

func (m *merge) text() []byte {
	var b bytes.Buffer
	all := uint(1)<<len(servers()) - 1
	fmt.Fprintf(&b, "%sservers %s\n", header, strings.Join(servers(), " "))
	for _, line := range slices.SortedFunc(maps.Keys(m.kinds), cmp.Compare) {
		fmt.Fprintf(&b, "kind %s%s\n", line, minors(m.kinds[line], all))
	}
	for _, name := range slices.Sorted(maps.Keys(m.types)) {
		t := m.types[name]
		fmt.Fprintf(&b, "type %s\n", name)
		seen := ""
		for _, line := range slices.Sorted(maps.Keys(t.fields)) {
			field, of, _ := strings.Cut(line, " ")
			if words := m.words[name+" "+field]; len(words) > 0 {
				if list := strings.TrimSuffix(of, "string"); list+"string" == of {
					of = list + "one-of:" + strings.Join(words, "|")
				}
			}
			if field == seen {
				log.Printf("note: %s.%s has another type in another version", name, field)
			}
			seen = field
			if slices.Contains(t.required, field) && stable.MatchString(name) && !strings.Contains(optional, "\n"+name+" "+field+"\n") {
				field += "!"
			}
			fmt.Fprintf(&b, " %s %s%s\n", field, of, minors(t.fields[line], t.in))
		}
	}
	return b.Bytes()
}

// minors writes a set of servers as 30-33,35; nothing where it is the whole.
func minors(set, whole uint) string {
	if set == whole {
		return ""
	}
	var parts []string
	for i := 0; i < len(servers()); i++ {
		first := i
		for set&(1<<i) != 0 {
			i++
		}
		if first < i {
			from, to := minor(first), minor(i-1)
			if from != to {
				from += "-" + to
			}
			parts = append(parts, from)
		}
	}
	return " " + strings.Join(parts, ",")
}

func minor(server int) string { return strings.Split(servers()[server], ".")[1] }
