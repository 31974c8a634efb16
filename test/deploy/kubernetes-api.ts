import { symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { run } from '../support/process.ts'
import type { Scope } from '../support/scope.ts'
import { tempFolder } from '../support/tree.ts'

export interface KubernetesObject {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string; labels?: Record<string, string> }
  [key: string]: unknown
}

/** As far as they are looked at here. */
export interface Probe {
  httpGet: { path: string; port: string }
  periodSeconds: number
  timeoutSeconds: number
  failureThreshold: number
}
export interface Container {
  name: string
  image: string
  args?: string[]
  command?: string[]
  ports?: { name: string; containerPort: number }[]
  /** Without a value it is the pod's name. */
  env?: { name: string; value?: string }[]
  livenessProbe?: Probe
  readinessProbe?: Probe
  lifecycle: { preStop: { exec: { command: string[] } } }
  resources: { requests: object; limits: object }
  securityContext: object
  volumeMounts: { name: string; mountPath: string }[]
}
export interface Pod {
  terminationGracePeriodSeconds: number
  securityContext: Record<string, unknown>
  containers: Container[]
  volumes: {
    name: string
    configMap?: { name: string }
    secret?: { secretName: string }
    persistentVolumeClaim?: { claimName: string }
  }[]
}
export interface Workload {
  replicas: number
  strategy?: object
  minReadySeconds?: number
  template: { metadata: { labels: Record<string, string> }; spec: Pod }
  volumeClaimTemplates?: { metadata: { name: string }; spec: { resources: object } }[]
}

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** The packages that have the APIs which are not Kubernetes' own. */
const PACKAGES: Readonly<Record<string, string>> = {
  'gateway.networking.k8s.io': '@kubernetes-models/gateway-api',
  'keda.sh': '@kubernetes-models/keda',
  'monitoring.coreos.com': '@kubernetes-models/prometheus-operator',
}

/**
 * What Kubernetes' APIs have against these objects, by the types that are made of their schemas: what is missing, of the wrong
 * type or unknown, at any depth. Empty where there is nothing.
 */
export async function apiErrors(scope: Scope, objects: readonly KubernetesObject[]): Promise<string> {
  const folder = await tempFolder(scope, 'kubernetes-api')
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
  const options = {
    ...{ strict: true, noEmit: true, skipLibCheck: true, types: [] },
    ...{ module: 'esnext', moduleResolution: 'bundler', target: 'es2022' },
  }
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: options }))
  const lines = objects.map((object, index) => {
    const { apiVersion, kind, metadata } = object
    const [group = ''] = apiVersion.split('/')
    const module = `${PACKAGES[group] ?? 'kubernetes-models'}/${apiVersion}`
    // An object literal in its place may have no key that its type has not.
    return [
      `// ${kind} ${metadata.name}`,
      `import type { I${kind} as I${index} } from '${module}'`,
      `export const object${index}: I${index} = ${JSON.stringify(object, null, 1)}`,
    ].join('\n')
  })
  await writeFile(join(folder, 'objects.ts'), lines.join('\n'))
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const { code, stdout, stderr } = await run(process.execPath, [tsc, '--pretty', 'false', '-p', folder])
  return code === 0 ? '' : `${stdout}${stderr}`
}
