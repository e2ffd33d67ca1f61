package main

import (
	"errors"
	"fmt"
	"os"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// contextName is the cluster and the context in every kubeconfig written here.
const contextName = "devcluster"

// writeKubeconfig writes a kubeconfig for the client whose certificate in p has the name client.
func writeKubeconfig(path, server string, p pki, client string) error {
	var read [3][]byte
	for i, name := range []string{"ca.crt", client + ".crt", client + ".key"} {
		data, err := os.ReadFile(p.file(name))
		if err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		read[i] = data
	}
	return writeClientConfig(path, &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: read[0]},
		&clientcmdapi.AuthInfo{ClientCertificateData: read[1], ClientKeyData: read[2]})
}

func writeClientConfig(path string, cluster *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo) error {
	config := clientcmdapi.NewConfig()
	config.Clusters[contextName] = cluster
	config.AuthInfos[contextName] = user
	config.Contexts[contextName] = &clientcmdapi.Context{Cluster: contextName, AuthInfo: contextName}
	config.CurrentContext = contextName
	data, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return writeFile(path, data, 0o600)
}

// checkKubeconfigTarget refuses a file that holds anything but an earlier kubeconfig of devcluster: replacing it would
// lose the user's access to other clusters.
func checkKubeconfigTarget(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--kubeconfig: %w", err)
	}
	if info.Mode().IsRegular() && info.Size() == 0 {
		return nil
	}
	config, err := clientcmd.LoadFromFile(path)
	if err == nil && len(config.Clusters) == 1 && config.Clusters[contextName] != nil {
		return nil
	}
	return fmt.Errorf("--kubeconfig %s holds something else and would be replaced; choose another file, or remove it", path)
}
