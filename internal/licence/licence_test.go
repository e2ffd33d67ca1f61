package licence

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestOf: each licence is told from its own words, and what a text says of another licence does not make it that one.
func TestOf(t *testing.T) {
	for text, want := range map[string][]string{
		"                 Apache License\n           Version 2.0, January 2004":                 {"Apache-2.0"},
		"Permission is hereby granted, free of\ncharge, to any person obtaining a copy of this": {"MIT"},
		bsd + " provided that": {"BSD-2-Clause"},
		bsd + " ... Neither the name of X nor ... may be used to endorse or\npromote products":                  {"BSD-3-Clause"},
		`Mozilla Public License, version 2.0 ... means either the GNU General Public License, Version 2.0, the`: {"MPL-2.0"},
		"GNU GENERAL PUBLIC LICENSE\n  Version 3, 29 June 2007":                                                 {"GPL"},
		"GNU AFFERO GENERAL PUBLIC LICENSE\n Version 3":                                                         {"AGPL"},
		"Business Source License 1.1":                                                                           {"BUSL-1.1"},
		"\"Commons Clause\" License Condition\nApache License\nVersion 2.0, January 2004":                       {"Apache-2.0", "Commons-Clause"},
		"> Redistribution and use in source and binary forms, with or\n> without modification, are permitted":   {"BSD-2-Clause"},
		"All rights reserved.": {Unknown},
		"":                     {Unknown},
	} {
		if got := Of(text); !slices.Equal(got, want) {
			t.Errorf("Of(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestRead: files of licences are read whatever they are called, and nothing else is; a module without any is an error.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir); !errors.Is(err, ErrNone) {
		t.Errorf("an empty folder: %v", err)
	}
	for _, name := range []string{"LICENSE", "LICENCE.md", "COPYING", "LICENSE-3RD-PARTY.md", "license.go", "licensed", "README"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("All rights reserved."), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := Read(dir)
	var names []string
	for _, one := range all {
		names = append(names, one.Name)
	}
	if want := []string{"COPYING", "LICENCE.md", "LICENSE", "LICENSE-3RD-PARTY.md"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("read %q (%v), want %q", names, err, want)
	}
}

func FuzzOf(f *testing.F) {
	f.Add("Apache License Version 2.0, January 2004")
	f.Fuzz(func(t *testing.T, text string) {
		if ids := Of(text); len(ids) == 0 {
			t.Error("no answer")
		}
	})
}
