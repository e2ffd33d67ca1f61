package release

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// plugin is what krew reads of a plugin of kubectl, to install it.
type plugin struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   pluginMetadata `json:"metadata"`
	Spec       pluginSpec     `json:"spec"`
}

type pluginMetadata struct {
	Name string `json:"name"`
}

type pluginSpec struct {
	Version          string           `json:"version"`
	Homepage         string           `json:"homepage"`
	ShortDescription string           `json:"shortDescription"`
	Description      string           `json:"description"`
	Platforms        []pluginPlatform `json:"platforms"`
}

// pluginPlatform is where the program of a platform is fetched. Krew links Bin as kubectl-ringfence.
type pluginPlatform struct {
	Selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
	URI    string           `json:"uri"`
	SHA256 string           `json:"sha256"`
	Bin    string           `json:"bin"`
	Files  []pluginFileMove `json:"files"`
}

type pluginFileMove struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// krew writes the manifest of the plugin, with the checksums of the archives that were written.
func (c *Config) krew(programs []*program, o Origin) error {
	p := plugin{APIVersion: "krew.googlecontainertools.github.com/v1alpha2", Kind: "Plugin", Metadata: pluginMetadata{product}, Spec: pluginSpec{
		Version: o.Version, Homepage: c.Source, ShortDescription: "One catalogue of rules at every door",
		Description: "Judges manifests and live clusters by one catalogue of rules, says what each rule wants and why,\nand asks for waivers, elevations and tenants as the user of the kubeconfig.\n",
	}}
	from := cmp.Or(c.Downloads, c.Source+"/releases/download/"+o.Version)
	for _, one := range programs {
		digest, err := sum(filepath.Join(c.Out, one.archive()))
		if err != nil {
			return fmt.Errorf("write the manifest for krew: %w", err)
		}
		at := pluginPlatform{URI: from + "/" + one.archive(), SHA256: digest, Bin: one.program(),
			Files: []pluginFileMove{{one.program(), "."}, {"LICENSE", "."}}}
		at.Selector.MatchLabels = map[string]string{"os": one.OS, "arch": one.Arch}
		p.Spec.Platforms = append(p.Spec.Platforms, at)
	}
	text, err := yaml.Marshal(p)
	if err != nil {
		return fmt.Errorf("write the manifest for krew: %w", err)
	}
	return os.WriteFile(filepath.Join(c.Out, "krew.yaml"), text, 0o644)
}
