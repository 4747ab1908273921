{{- /* The API groups whose resources the operator serves, as a list in YAML. */}}
{{- define "strimzi-backup.apiGroups" -}}
- backup.strimzi.io
{{- if .Values.apis.kafkaOso.enabled }}
- kafka.oso.sh
{{- end }}
{{- end }}

{{- /* What the operator may do where it serves resources. No rule on Secrets: pods get them by reference. */}}
{{- define "strimzi-backup.rules" -}}
- apiGroups:
    {{- include "strimzi-backup.apiGroups" . | nindent 4 }}
  resources: [kafkabackups, kafkarestores]
  verbs: [list, watch]
- apiGroups:
    {{- include "strimzi-backup.apiGroups" . | nindent 4 }}
  resources: [kafkabackups/status, kafkarestores/status]
  verbs: [patch]
# To be named as an owner that blocks deletion.
- apiGroups:
    {{- include "strimzi-backup.apiGroups" . | nindent 4 }}
  resources: [kafkabackups/finalizers, kafkarestores/finalizers]
  verbs: [update]
# Where and how to connect.
- apiGroups: [kafka.strimzi.io]
  resources: [kafkas, kafkausers]
  verbs: [list, watch]
- apiGroups: [batch]
  resources: [jobs, cronjobs]
  verbs: [get, list, watch, create, patch, delete]
# The configuration of a run. They are known by name, so none is listed.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, patch, delete]
# The result and the progress of a run.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
