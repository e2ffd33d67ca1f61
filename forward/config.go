package forward

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"ringfence.dev/ringfence/finding"
)

// maxConfig bounds the configuration file.
const maxConfig = 1 << 20

var (
	nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	kindForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)
)

// Common are the settings that every sink has; those of its type stand beside them.
type Common struct {
	// Name names the sink in logs, metrics and files: lower-case letters, digits and dashes. To change it is to begin anew.
	Name string `yaml:"name"`
	// Type is the kind of place: a key of the table of Types.
	Type string `yaml:"type"`
	// Kinds are the kinds of records that some rule at the sink reads, for instance native-refusal.v1. Empty is all: what no
	// rule reads then fills the sink and is paid for.
	Kinds []string `yaml:"kinds"`
	// Format is how records are written: a key of Types.Formats; empty is the type's own.
	Format string `yaml:"format"`
}

// Type is how to make a sink of one type.
type Type struct {
	// Format is the format where a sink names none.
	Format string
	// Open makes the sink of its settings. It reads no secret yet and reaches no network: a sink that is down must not keep
	// Ringfence from starting.
	Open func(Settings) (Sink, error)
}

// Types is the table of what a configuration may name. It is a literal of who wires the program.
type Types struct {
	Sinks   map[string]Type
	Formats map[string]Format
}

// Settings are the settings of one sink, with their lines.
type Settings struct {
	file string
	at   string
	node *yaml.Node
}

// Decode reads the settings into a struct with yaml tags. A field that the struct does not have is refused with its line.
func (s Settings) Decode(into any) error {
	own := *s.node
	own.Content = nil
	common := fieldsOf(reflect.TypeFor[Common]())
	for i := 0; i+1 < len(s.node.Content); i += 2 {
		if _, ok := common[s.node.Content[i].Value]; !ok {
			own.Content = append(own.Content, s.node.Content[i], s.node.Content[i+1])
		}
	}
	if err := strict(s.file, s.at, &own, reflect.TypeOf(into), common); err != nil {
		return err
	}
	return yamlError(s.file, own.Decode(into))
}

// Path makes a file name in the settings one that works: a relative one is relative to the configuration file.
func (s Settings) Path(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(s.file), name)
}

// Opened is a sink that the configuration names, ready to be followed.
type Opened struct {
	Common
	Sink Sink
	Make Format
}

// Load reads a configuration file and opens its sinks. The error lists every fault, each with file, line and field.
func Load(file string, types Types) ([]Opened, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the configuration of sinks: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("read the configuration of sinks: %w", err)
	}
	if len(text) > maxConfig {
		return nil, fmt.Errorf("%s: want at most %d bytes", file, maxConfig)
	}
	return parse(file, text, types)
}

// document is the whole file.
type document struct {
	Sinks []yaml.Node `yaml:"sinks"`
}

// parse reads the text of a configuration.
func parse(file string, text []byte, types Types) ([]Opened, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var root yaml.Node
	if err := dec.Decode(&root); err != nil && !errors.Is(err, io.EOF) {
		return nil, yamlError(file, err)
	}
	if len(root.Content) == 0 {
		return nil, fmt.Errorf("%s:1: found nothing; want sinks: and a list", file)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: found more than one document; want one", file)
	}
	var doc document
	if err := strict(file, "", root.Content[0], reflect.TypeFor[document](), nil); err != nil {
		return nil, err
	}
	if err := root.Content[0].Decode(&doc); err != nil {
		return nil, yamlError(file, err)
	}
	var all []Opened
	var faults []error
	seen := map[string]int{}
	for i := range doc.Sinks {
		o, err := open(file, i, &doc.Sinks[i], types)
		if line, twice := seen[o.Name]; err == nil && twice {
			err = fmt.Errorf("%s:%d: sinks[%d].name: found %q, which line %d has too; want each name once", file, doc.Sinks[i].Line, i, o.Name, line)
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		seen[o.Name] = doc.Sinks[i].Line
		all = append(all, o)
	}
	if len(faults) > 0 {
		for _, o := range all {
			_ = o.Sink.Close()
		}
		return nil, errors.Join(faults...)
	}
	return all, nil
}

// open makes one sink.
func open(file string, i int, node *yaml.Node, types Types) (Opened, error) {
	at := fmt.Sprintf("sinks[%d]", i)
	if node.Kind != yaml.MappingNode {
		return Opened{}, fmt.Errorf("%s:%d: %s: want name, type and more", file, node.Line, at)
	}
	var o Opened
	if err := node.Decode(&o.Common); err != nil {
		return o, yamlError(file, err)
	}
	wrong := func(field, found, want string) error {
		return fmt.Errorf("%s:%d: %s.%s: found %q; want %s", file, lineOf(node, field), at, field, finding.Value(found), want)
	}
	if !nameForm.MatchString(o.Name) {
		return o, wrong("name", o.Name, "lower-case letters, digits and dashes")
	}
	kind, ok := types.Sinks[o.Type]
	if !ok {
		return o, wrong("type", o.Type, "one of "+names(types.Sinks))
	}
	for _, k := range o.Kinds {
		if !kindForm.MatchString(k) {
			return o, wrong("kinds", k, "kinds of records, as native-refusal.v1")
		}
	}
	if o.Format == "" {
		o.Format = kind.Format
	}
	if o.Make, ok = types.Formats[o.Format]; !ok {
		return o, wrong("format", o.Format, "one of "+names(types.Formats))
	}
	sink, err := kind.Open(Settings{file, at, node})
	if err != nil {
		if !strings.HasPrefix(err.Error(), file+":") {
			err = fmt.Errorf("%s:%d: %s (%s): %w", file, node.Line, at, o.Name, err)
		}
		return o, err
	}
	o.Sink = sink
	return o, nil
}

// strict refuses keys that a struct has no field for, within structs of structs.
func strict(file, at string, node *yaml.Node, t reflect.Type, more map[string]reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[yaml.Node]() {
		return nil
	}
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("%s:%d: %s: want fields with values", file, node.Line, at)
	}
	fields := fieldsOf(t)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		field, ok := fields[key.Value]
		if !ok {
			want := maps.Clone(fields)
			maps.Copy(want, more)
			return fmt.Errorf("%s:%d: %s: found the unknown field %q; want %s", file, key.Line, at, finding.Value(key.Value), names(want))
		}
		if err := strict(file, strings.TrimPrefix(at+"."+key.Value, "."), value, field, nil); err != nil {
			return err
		}
	}
	return nil
}

// fieldsOf are a struct's fields by their yaml names.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		fields[name] = t.Field(i).Type
	}
	return fields
}

// lineOf is the line of a field, or of the whole where the field is missing.
func lineOf(node *yaml.Node, field string) int {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == field {
			return node.Content[i].Line
		}
	}
	return node.Line
}

var (
	yamlLine = regexp.MustCompile(`(?:yaml: )?(?:unmarshal errors:\s*)?line (\d+): `)
	quoted   = regexp.MustCompile("`[^`]*`")
)

// yamlError is an error of the parser with the file before its line. Values are not repeated: one may be a secret that
// somebody put there by mistake.
func yamlError(file string, err error) error {
	if err == nil {
		return nil
	}
	line := "1"
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		line = m[1]
	}
	text := quoted.ReplaceAllString(yamlLine.ReplaceAllString(err.Error(), ""), "a value")
	return fmt.Errorf("%s:%s: %s", file, line, finding.Clean(strings.TrimSpace(text)))
}

// names are a map's keys, sorted.
func names[T any](m map[string]T) string {
	keys := slices.Sorted(maps.Keys(m))
	return strings.Join(keys, ", ")
}
