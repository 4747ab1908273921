{{- /* What is made bears the release's name, with the chart's unless the release has it already. 52 characters leave room for a suffix. */}}
{{- define "strimzi-backup.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "strimzi-backup.fullname" -}}
{{- $name := include "strimzi-backup.name" . }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- .Values.fullnameOverride | default $full | replace "." "-" | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- /* For what stands outside the release's namespace, where a release of the same name may have been before us. A dot cannot be part of either name. */}}
{{- define "strimzi-backup.globalName" -}}
{{ include "strimzi-backup.fullname" . }}.{{ .Release.Namespace }}
{{- end }}

{{- define "strimzi-backup.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "strimzi-backup.fullname" .) }}
{{- end }}

{{- define "strimzi-backup.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* Is this chart to make a service account for Jobs? Empty for no. */}}
{{- define "strimzi-backup.makesJobServiceAccount" -}}
{{- with .Values.jobs.serviceAccount }}
{{- if or .create (and $.Values.azureWorkloadIdentity.enabled (not .name)) }}true{{ end }}
{{- end }}
{{- end }}

{{- /* Empty: that of the namespace. */}}
{{- define "strimzi-backup.jobServiceAccount" -}}
{{- if .Values.jobs.serviceAccount.name }}
{{- .Values.jobs.serviceAccount.name }}
{{- else if include "strimzi-backup.makesJobServiceAccount" . }}
{{- include "strimzi-backup.fullname" . }}-jobs
{{- end }}
{{- end }}

{{- /* Separated by commas. */}}
{{- define "strimzi-backup.jobServiceAccountNamespaces" -}}
{{ .Values.jobs.serviceAccount.namespaces | default .Values.watchNamespaces | default (list .Release.Namespace) | join "," }}
{{- end }}

{{- define "strimzi-backup.selectorLabels" -}}
app.kubernetes.io/name: {{ include "strimzi-backup.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "strimzi-backup.labels" -}}
{{ include "strimzi-backup.selectorLabels" . }}
app.kubernetes.io/part-of: strimzi-backup
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* Pods of the operator's Jobs, wherever they run. */}}
{{- define "strimzi-backup.jobPodLabels" -}}
app.kubernetes.io/managed-by: strimzi-backup-operator
app.kubernetes.io/component: job
{{- end }}

{{- /* As Azure describes service accounts: https://azure.github.io/azure-workload-identity/docs/topics/service-account-labels-and-annotations.html */}}
{{- define "strimzi-backup.azureLabels" -}}
{{- if .Values.azureWorkloadIdentity.enabled }}
azure.workload.identity/use: "true"
{{- end }}
{{- end }}

{{- define "strimzi-backup.azureAnnotations" -}}
{{- with .Values.azureWorkloadIdentity }}
{{- if and .enabled .clientId }}
azure.workload.identity/client-id: {{ .clientId | quote }}
{{- end }}
{{- end }}
{{- end }}
