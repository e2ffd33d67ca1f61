// Package licence tells from a module's files under which licences it may be used.
//
// It knows texts by sentences that stand in them and in no others, and says of every other text that it does not know it. Which licences
// are allowed is the caller's business: a test at the root of the repository, and package internal/release, which names them in bills of materials.
package licence

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Unknown is what a text is whose licence is not known.
const Unknown = "unknown"

// maxText bounds a licence's text in bytes; the longest seen, of somebody who lists all that they use, has 60,000.
const maxText = 1 << 20

// sentences are what tells a licence, in small letters and with single spaces. The identifiers are SPDX's.
var sentences = []struct{ id, text string }{
	{"Apache-2.0", "apache license version 2.0, january 2004"},
	{"Apache-2.0", `licensed under the apache license, version 2.0 (the "license")`},
	{"MIT", "permission is hereby granted, free of charge, to any person obtaining a copy"},
	{"ISC", "permission to use, copy, modify, and distribute this software for any purpose with or without fee is hereby granted"},
	{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted"},
	{"MPL-2.0", "mozilla public license version 2.0"},
	{"MPL-2.0", "mozilla public license, version 2.0"},
	{"Unlicense", "this is free and unencumbered software released into the public domain"},
	{"blessing", "the code and documentation in sqlite has been dedicated to the public domain"},
	{"CC0-1.0", "cc0 1.0 universal"},
	{"CC-BY-SA-4.0", "attribution-sharealike 4.0 international"},
	{"GPL", "gnu general public license version"},
	{"GPL", "under the terms of the gnu general public license"},
	{"LGPL", "gnu lesser general public license version"},
	{"LGPL", "under the terms of the gnu lesser general public license"},
	{"AGPL", "gnu affero general public license version"},
	{"AGPL", "under the terms of the gnu affero general public license"},
	{"BUSL-1.1", "business source license"},
	{"SSPL-1.0", "server side public license"},
	{"Commons-Clause", "commons clause"},
}

// The licences of Berkeley: what all have, and what those of three clauses have beside it, in one of the words that people put there.
const bsd = "redistribution and use in source and binary forms, with or without modification, are permitted"

var third = regexp.MustCompile(`may be used to endorse or promote products`)

// file is how a file of a licence is called.
var file = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)(s?)([-._].*)?$`)

// Of gives the identifiers of the licences of a text, sorted; Unknown alone where it is none that is known.
func Of(text string) []string {
	words := slices.DeleteFunc(strings.Fields(strings.ToLower(text)), func(word string) bool { return strings.Trim(word, ">*#/|") == "" }) // as people quote
	text = strings.Join(words, " ")
	var ids []string
	for _, s := range sentences {
		if strings.Contains(text, s.text) {
			ids = append(ids, s.id)
		}
	}
	if strings.Contains(text, bsd) {
		if third.MatchString(text) {
			ids = append(ids, "BSD-3-Clause")
		} else {
			ids = append(ids, "BSD-2-Clause")
		}
	}
	if ids == nil {
		return []string{Unknown}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Text is a file of a licence.
type Text struct {
	// Name is the file's.
	Name string
	// IDs are the licences that stand in it.
	IDs []string
	// Text is what it says.
	Text string
}

// ErrNone says that a module has no file of a licence: nobody may use it.
var ErrNone = errors.New("no file of a licence")

// Read reads the licences in the folder of a module, ordered by name. The error is ErrNone where there are none.
func Read(dir string) ([]Text, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read licences: %w", err)
	}
	var all []Text
	for _, e := range entries {
		if !e.Type().IsRegular() || !file.MatchString(e.Name()) || filepath.Ext(e.Name()) == ".go" {
			continue
		}
		text, err := readText(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, Text{e.Name(), Of(text), text})
	}
	if all == nil {
		return nil, fmt.Errorf("%s: %w", dir, ErrNone)
	}
	return all, nil
}

func readText(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read a licence: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return "", fmt.Errorf("read a licence: %w", err)
	}
	if len(text) > maxText {
		return "", fmt.Errorf("read a licence: %s has more than %d bytes", path, maxText)
	}
	return string(text), nil
}
