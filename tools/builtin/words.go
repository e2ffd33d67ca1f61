package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// enumerations are the words that fields take, by "core.v1.Container imagePullPolicy". They stand in no OpenAPI document,
// so they are read of the Go types: those marked +enum, with their constants. The newest release counts for all servers; it
// knows every word that an older one does.
func enumerations(api string) (map[string][]string, error) {
	all := map[string][]string{}
	dirs, err := filepath.Glob(filepath.Join(api, "*", "v[0-9]")) // alpha and beta words change
	if err != nil || len(dirs) == 0 {
		return nil, fmt.Errorf("no types in %s: %w", api, err)
	}
	for _, dir := range dirs {
		of, err := filepath.Glob(filepath.Join(dir, "types*.go"))
		if err != nil {
			return nil, err
		}
		p := goTypes{enum: map[string]bool{}, words: map[string][]string{}, fields: map[string]string{}}
		for _, name := range of {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				return nil, err
			}
			for _, decl := range file.Decls {
				if d, ok := decl.(*ast.GenDecl); ok {
					p.declaration(d)
				}
			}
		}
		prefix := filepath.Base(filepath.Dir(dir)) + "." + filepath.Base(dir) + "."
		for field, name := range p.fields {
			words := slices.DeleteFunc(slices.Clone(p.words[name]), func(w string) bool { return w == "" })
			spaced := slices.ContainsFunc(words, func(w string) bool { return strings.Contains(w, " ") }) // the file cannot hold them
			if p.enum[name] && len(words) > 0 && !spaced {
				slices.Sort(words)
				all[prefix+field] = slices.Compact(words)
			}
		}
	}
	return all, nil
}

// goTypes is what is read of one package.
type goTypes struct {
	enum   map[string]bool     // types marked +enum
	words  map[string][]string // constants by their type
	fields map[string]string   // "Container imagePullPolicy": the field's type
}

func (p *goTypes) declaration(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if structure, ok := s.Type.(*ast.StructType); ok {
				p.structure(s.Name.Name, structure)
			} else if marked(d.Doc) || marked(s.Doc) {
				p.enum[s.Name.Name] = true
			}
		case *ast.ValueSpec:
			p.constant(s)
		}
	}
}

func marked(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.TrimSpace(strings.TrimPrefix(c.Text, "//")) == "+enum" })
}

func (p *goTypes) constant(s *ast.ValueSpec) {
	of, ok := s.Type.(*ast.Ident)
	if !ok || len(s.Values) != 1 {
		return
	}
	if literal, ok := s.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
		if word, err := strconv.Unquote(literal.Value); err == nil {
			p.words[of.Name] = append(p.words[of.Name], word)
		}
	}
}

func (p *goTypes) structure(name string, s *ast.StructType) {
	for _, f := range s.Fields.List {
		if f.Tag == nil {
			continue
		}
		tag, err := strconv.Unquote(f.Tag.Value)
		if err != nil {
			continue
		}
		field, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
		of := f.Type
		if star, ok := of.(*ast.StarExpr); ok {
			of = star.X
		}
		if items, ok := of.(*ast.ArrayType); ok {
			of = items.Elt
		}
		if of, ok := of.(*ast.Ident); ok && field != "" {
			p.fields[name+" "+field] = of.Name
		}
	}
}
