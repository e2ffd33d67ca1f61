package image

// Component is one part of an image as an SBOM lists it, whether or not a weakness of it is known.
type Component struct {
	Name    string // for instance openssl; with its group before it where there is one, as in org.apache.logging.log4j/log4j-core
	Version string // "" unknown
	PURL    string // package URL; "" where the SBOM gives none
}
