import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Redis } from 'ioredis'
import { parseAllDocuments } from 'yaml'
import { loadSettings, type Settings } from '../../config/index.ts'
import { mustRun, run, spawnProgram } from '../support/process.ts'
import { startProxy } from '../support/proxy.ts'
import { Cleanup } from '../support/scope.ts'
import { freePort, requireSystem } from '../support/system.ts'
import { tempFolder } from '../support/tree.ts'
import { apiErrors, type KubernetesObject, type Probe, type Workload } from './kubernetes-api.ts'
import { deploy } from './prometheus.ts'

const OVERLAYS = ['small', 'production', 'ha', 'keda'] as const
type Overlay = (typeof OVERLAYS)[number]

const objectsIn = (text: string) => parseAllDocuments(text).map((one) => one.toJS() as KubernetesObject)

const skip =
  requireSystem('kubectl') ??
  ((await run('kubectl', ['version', '--client'])).stdout.includes('Kustomize Version: v5')
    ? undefined
    : 'kubectl renders as Kustomize 5 only from version 1.27 on')

const cleanup = new Cleanup()
after(() => cleanup.close())
const rendered = new Map<Overlay, KubernetesObject[]>()
let secrets: KubernetesObject[] = []
before(async () => {
  if (skip !== undefined) return
  await Promise.all(
    OVERLAYS.map(async (overlay) => {
      const text = await mustRun('kubectl', ['kustomize', deploy(`kubernetes/overlays/${overlay}`)])
      rendered.set(overlay, objectsIn(text))
    }),
  )
  const folder = await tempFolder(cleanup, 'alerting')
  const file = (name: string) => join(folder, name)
  await writeFile(file('smtp'), 'a password: #1')
  await writeFile(file('slack'), 'https://hooks.slack.com/services/x')
  const env = { ...process.env, SMTP_PASSWORD_FILE: file('smtp'), SLACK_URL_FILE: file('slack') }
  secrets = objectsIn(await mustRun(deploy('make-secrets.sh'), ['kubernetes'], { env }))
})

const all = (overlay: Overlay) => rendered.get(overlay) ?? []
function one<T>(overlay: Overlay, kind: string, name = 'tunnel'): T {
  const [found, ...more] = all(overlay).filter((each) => each.kind === kind && each.metadata.name === name)
  assert.ok(found, `${overlay} has no ${kind} ${name}`)
  assert.deepEqual(more, [])
  return found as unknown as T
}
const names = (overlay: Overlay, kind: string) =>
  all(overlay).flatMap((each) => (each.kind === kind ? each.metadata.name : []))
/** As they are in files, decoded. */
function secretValues(name: string): Record<string, string> {
  const { data } = secrets.find(({ metadata }) => metadata.name === name) ?? assert.fail(name)
  const entries = Object.entries(data as Record<string, string>)
  return Object.fromEntries(entries.map(([key, value]) => [key, String(Buffer.from(value, 'base64'))]))
}
const deploymentOf = (overlay: Overlay) => one<{ spec: Workload }>(overlay, 'Deployment').spec
const workloadsOf = (overlay: Overlay) =>
  all(overlay).flatMap(({ kind, spec }) =>
    kind === 'Deployment' || kind === 'StatefulSet' ? (spec as Workload) : [],
  )

test('every object of every overlay, and every Secret, is one that its API takes', { skip }, async (t) => {
  const wrong = structuredClone(one<KubernetesObject>('small', 'Deployment'))
  const [container] = (wrong.spec as Workload).template.spec.containers
  Object.assign(container!.readinessProbe!, { nosuch: 1 })
  // Of all of them it is the one that is wrong.
  assert.match(
    await apiErrors(t, [...OVERLAYS.flatMap(all), ...secrets, wrong]),
    /^[^\n]+nosuch\W+does not exist[^\n]+\n$/,
  )
})

/** The settings with which a pod of the overlay starts: the same variables, and the same files at other places. */
async function settingsOf(overlay: Overlay): Promise<Settings> {
  const { containers, volumes } = deploymentOf(overlay).template.spec
  const [{ args = [], env = [], volumeMounts } = assert.fail()] = containers
  const folder = await tempFolder(cleanup, `pod-${overlay}`)
  const at = (path: string) => join(folder, path)
  for (const { name, mountPath } of volumeMounts) {
    await mkdir(at(mountPath), { recursive: true })
    const { configMap, secret } = volumes.find((volume) => volume.name === name) ?? assert.fail(name)
    // As Kubernetes makes an empty volume.
    await chmod(at(mountPath), 0o2777)
    const { data = {} } =
      configMap === undefined
        ? {}
        : one<{ data: Record<string, string> }>(overlay, 'ConfigMap', configMap.name)
    const files = { ...data, ...(secret && secretValues(secret.secretName)) }
    for (const [file, text] of Object.entries(files))
      await writeFile(join(at(mountPath), file), text, { mode: 0o440 })
  }
  const variables: NodeJS.ProcessEnv = {}
  for (const { name, value } of env)
    variables[name] = value?.startsWith('/') ? at(value) : (value ?? 'tunnel-5f7c-x')
  assert.deepEqual(args.slice(0, 4), ['server', '--profile', 'production', '--config'])
  const { settings, warnings } = loadSettings({ profile: 'production', file: at(args[4]!), env: variables })
  // Between pods: docs/DEPLOYMENT.md.
  for (const warning of warnings) assert.match(warning, / ha(s|ve) no TLS/)
  return settings
}

test('a pod of each overlay starts with settings that the proxy takes, and listens where its ports say', {
  skip,
}, async () => {
  for (const overlay of OVERLAYS) {
    const isSmall = overlay === 'small'
    const { server, state, cluster, shutdown, metrics } = await settingsOf(overlay)
    const { template, replicas } = deploymentOf(overlay)
    const { containers, terminationGracePeriodSeconds } = template.spec
    const [{ ports = [], lifecycle } = assert.fail()] = containers
    assert.equal(server.host, '0.0.0.0')
    assert.equal(replicas, isSmall ? 1 : 2)
    assert.deepEqual(ports, [
      { name: 'http', containerPort: server.port },
      ...(isSmall ? [] : [{ name: 'mesh', containerPort: cluster.port }]),
    ])
    assert.equal(metrics.token, secretValues('tunnel')['metrics-token'])
    const waitsS = Number(lifecycle.preStop.exec.command[1])
    assert.ok(terminationGracePeriodSeconds >= waitsS + shutdown.serverMs / 1_000 + 5)
    assert.equal(state.store, isSmall ? 'embedded' : 'redis')
    assert.equal(cluster.enabled, !isSmall)
    if (isSmall) continue
    const mesh = new URL(cluster.peers[0]!)
    assert.deepEqual([mesh.hostname, Number(mesh.port)], ['tunnel-mesh', cluster.port])
    const redis = one<{ spec: { ports: { port: number }[] } }>(overlay, 'Service', 'redis').spec
    const { hostname, port } = new URL(state.redisUrl)
    assert.deepEqual([hostname, Number(port)], ['redis', redis.ports[0]?.port])
  }
  const { state } = await settingsOf('ha')
  const sentinel = readFileSync(deploy('kubernetes/components/redis-sentinel/sentinel.conf'), 'utf8')
  const [, port] = /^port (\d+)$/m.exec(sentinel) ?? []
  const { replicas } = one<{ spec: Workload }>('ha', 'StatefulSet', 'redis').spec
  assert.deepEqual(
    state.sentinels,
    Array.from({ length: replicas }, (_, index) => `redis-${index}.redis:${port}`),
  )
  assert.match(sentinel, new RegExp(`^sentinel monitor ${state.sentinelMaster} redis-0.redis 6379 2$`, 'm'))
})

test('whatever an object names is there', { skip }, () => {
  for (const overlay of OVERLAYS) {
    for (const { template, volumeClaimTemplates = [] } of workloadsOf(overlay)) {
      const { containers, volumes } = template.spec
      const claims = volumeClaimTemplates.map(({ metadata }) => metadata.name)
      const mounted = new Set([...volumes.map(({ name }) => name), ...claims])
      for (const { configMap, secret, persistentVolumeClaim } of volumes) {
        if (configMap) one(overlay, 'ConfigMap', configMap.name)
        if (secret) assert.ok(secretValues(secret.secretName), secret.secretName)
        if (persistentVolumeClaim) one(overlay, 'PersistentVolumeClaim', persistentVolumeClaim.claimName)
      }
      for (const { volumeMounts, securityContext } of containers) {
        for (const { name } of volumeMounts) assert.ok(mounted.has(name), `${overlay}: ${name}`)
        assert.deepEqual(securityContext, {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
        })
      }
      const { runAsNonRoot, seccompProfile } = template.spec.securityContext
      assert.deepEqual([runAsNonRoot, seccompProfile], [true, { type: 'RuntimeDefault' }])
    }
    for (const { kind, metadata, spec } of all(overlay)) {
      if (kind !== 'Service') continue
      const { selector, ports } = spec as {
        selector: Record<string, string>
        ports: { port: number; targetPort: string }[]
      }
      const pods = workloadsOf(overlay).filter(
        ({ template }) =>
          template.metadata.labels['app.kubernetes.io/name'] === selector['app.kubernetes.io/name'],
      )
      assert.equal(pods.length, 1, `${overlay}: pods of ${metadata.name}`)
      const open = pods[0]!.template.spec.containers.flatMap(({ ports: own = [] }) => own)
      for (const { port, targetPort } of ports)
        assert.equal(open.find(({ name }) => name === targetPort)?.containerPort, port, targetPort)
    }
    assert.ok(
      all(overlay).every(({ kind, metadata }) => kind === 'Namespace' || metadata.namespace === 'tunnel'),
    )
  }
  assert.match(
    readFileSync(deploy('prometheus/alertmanager.yml'), 'utf8'),
    /\/secrets\/tunnel-alerting\/smtp-password[\s\S]*\/secrets\/tunnel-alerting\/slack-url/,
  )
  assert.deepEqual(secretValues('tunnel-alerting'), {
    'smtp-password': 'a password: #1',
    'slack-url': 'https://hooks.slack.com/services/x',
  })
})

test('probes, metrics and what is scaled by are those of the proxy', { skip }, async (t) => {
  const proxy = await startProxy(t, { set: ['metrics.token=a-token-of-prometheus'] })
  for (const overlay of OVERLAYS) {
    const [{ livenessProbe: live, readinessProbe: ready } = assert.fail()] =
      deploymentOf(overlay).template.spec.containers
    const figures = ({ periodSeconds, timeoutSeconds, failureThreshold }: Probe) => [
      ...[periodSeconds, timeoutSeconds, failureThreshold],
    ]
    assert.deepEqual(
      [figures(live!), figures(ready!)],
      [
        [10, 5, 3],
        [5, 3, 1],
      ],
    )
    for (const { httpGet } of [live!, ready!]) {
      const { statusCode } = await proxy.app.inject({ url: httpGet.path })
      assert.equal(statusCode, 200, httpGet.path)
    }
    if (overlay === 'small') continue
    const { endpoints } = one<{ spec: { endpoints: { path: string; interval: string }[] } }>(
      overlay,
      'ServiceMonitor',
    ).spec
    assert.equal(endpoints[0]?.interval, '15s')
    const { payload, statusCode } = await proxy.app.inject({ url: endpoints[0]!.path })
    assert.equal(statusCode, 200)
    const scalers = [
      ...names(overlay, 'HorizontalPodAutoscaler').map((name) => `HorizontalPodAutoscaler ${name}`),
      ...names(overlay, 'ScaledObject').map((name) => `ScaledObject ${name}`),
    ]
    assert.deepEqual(scalers, [`${overlay === 'keda' ? 'ScaledObject' : 'HorizontalPodAutoscaler'} tunnel`])
    const scaled = JSON.stringify(all(overlay).filter(({ kind }) => /Autoscaler|ScaledObject/.test(kind)))
    const [metric = ''] = /tunnel_\w+/.exec(scaled) ?? []
    assert.match(payload, new RegExp(`^# TYPE ${metric} gauge$`, 'm'))
  }
})

test('the shipped Redis takes what the proxy asks for, and nothing from anybody else', {
  skip: skip ?? requireSystem('redis-server'),
}, async (t) => {
  const folder = await tempFolder(t, 'redis')
  const { data } = all('production').find(
    ({ kind, data: files }) => kind === 'ConfigMap' && 'redis.conf' in (files as object),
  ) as unknown as { data: Record<string, string> }
  await writeFile(join(folder, 'users.acl'), secretValues('tunnel-redis')['users.acl']!)
  const conf = data['redis.conf']!.replace('/run/secrets/redis/users.acl', join(folder, 'users.acl')).replace(
    'dir /data',
    `dir ${folder}`,
  )
  await writeFile(join(folder, 'redis.conf'), conf)
  const port = await freePort()
  const redis = spawnProgram(t, 'redis-server', [join(folder, 'redis.conf'), '--port', String(port)])
  await redis.line(/Ready to accept connections/)
  const url = new URL(secretValues('tunnel')['redis-url']!)
  url.hostname = '127.0.0.1'
  url.port = String(port)
  const proxy = await startProxy(t, { set: ['state.store=redis', `state.redisUrl=${url}`] })
  await proxy.app.state.put('machine', 'alice home', { sshUser: 'alice' })
  const nobody = new Redis(port, '127.0.0.1', { enableReadyCheck: false })
  nobody.on('error', () => {}) // Redis is ended before it.
  t.after(() => nobody.disconnect())
  assert.equal(await nobody.ping(), 'PONG')
  await assert.rejects(nobody.keys('*'), /NOPERM/)
})

/** Of `value` what `part` has as well: keys of objects, and the first entries of lists. */
function likePart(value: unknown, part: unknown): unknown {
  if (typeof value !== 'object' || value === null || typeof part !== 'object' || part === null) return value
  const entries = Object.entries(part).map(
    ([key, inner]) => [key, likePart((value as Record<string, unknown>)[key], inner)] as const,
  )
  return Array.isArray(part) ? entries.map(([, inner]) => inner) : Object.fromEntries(entries)
}

test('every overlay has the figures that a rolling update, scaling and what keeps strangers out count on', {
  skip,
}, () => {
  const has = (object: object, part: object) => assert.deepEqual(likePart(object, part), part)
  const spec = (overlay: Overlay, kind: string, name?: string) =>
    one<{ spec: Record<string, unknown> }>(overlay, kind, name).spec
  for (const overlay of OVERLAYS) {
    const deployment = deploymentOf(overlay)
    const pod = deployment.template.spec
    const [container = assert.fail()] = pod.containers
    assert.deepEqual(container.resources, {
      requests: { cpu: '100m', memory: '256Mi' },
      limits: { cpu: '500m', memory: '512Mi' },
    })
    assert.deepEqual(container.lifecycle.preStop.exec.command, ['sleep', '5'])
    has(deployment, { minReadySeconds: 10 })
    has(pod, {
      terminationGracePeriodSeconds: 75,
      topologySpreadConstraints: [
        { topologyKey: 'kubernetes.io/hostname' },
        { topologyKey: 'topology.kubernetes.io/zone' },
      ],
    })
    has(container, {
      livenessProbe: { httpGet: { path: '/api/tunnel/health', port: 'http' } },
      readinessProbe: { httpGet: { path: '/api/tunnel/health/ready', port: 'http' } },
    })
    has(spec(overlay, 'Service'), { type: 'ClusterIP', ports: [{ port: 3001 }] })
    if (overlay === 'small') {
      // Nobody else may come by a port that is not there.
      assert.deepEqual(names(overlay, 'PodDisruptionBudget'), [])
      assert.deepEqual(spec(overlay, 'NetworkPolicy').ingress, [{ ports: [{ port: 'http' }] }])
      continue
    }
    has(deployment, { strategy: { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } } })
    has(spec(overlay, 'Service', 'tunnel-mesh'), { clusterIP: 'None', publishNotReadyAddresses: true })
    has(spec(overlay, 'PodDisruptionBudget'), { maxUnavailable: 1 })
    const replicas = { podSelector: { matchLabels: { 'app.kubernetes.io/name': 'tunnel' } } }
    const ofRedis = { podSelector: { matchLabels: { 'app.kubernetes.io/name': 'redis' } } }
    const isHa = overlay === 'ha'
    assert.deepEqual(spec(overlay, 'NetworkPolicy').ingress, [
      { ports: [{ port: 'http' }] },
      { ports: [{ port: 'mesh' }], from: [replicas] },
    ])
    assert.deepEqual(spec(overlay, 'NetworkPolicy', 'redis').ingress, [
      isHa
        ? { ports: [{ port: 'redis' }, { port: 'sentinel' }], from: [replicas, ofRedis] }
        : { ports: [{ port: 'redis' }], from: [replicas] },
    ])
    const scaleDown = {
      stabilizationWindowSeconds: 300,
      policies: [{ type: 'Pods', value: 1, periodSeconds: 60 }],
    }
    if (overlay === 'keda') {
      has(spec(overlay, 'ScaledObject'), {
        ...{ minReplicaCount: 2, maxReplicaCount: 10 },
        advanced: { horizontalPodAutoscalerConfig: { behavior: { scaleDown } } },
        triggers: [
          { type: 'cpu', metadata: { value: '70' } },
          { type: 'memory', metadata: { value: '80' } },
          { type: 'prometheus', metadata: { threshold: '100' } },
        ],
      })
      has(spec(overlay, 'HTTPRoute'), { rules: [{ timeouts: { request: '0s', backendRequest: '0s' } }] })
    } else {
      const used = (averageUtilization: number) => ({ target: { type: 'Utilization', averageUtilization } })
      has(spec(overlay, 'HorizontalPodAutoscaler'), {
        ...{ minReplicas: 2, maxReplicas: 10, behavior: { scaleDown } },
        metrics: [
          { resource: { name: 'cpu', ...used(70) } },
          { resource: { name: 'memory', ...used(80) } },
          {
            type: 'Pods',
            pods: { metric: { name: 'tunnel_active_connections' }, target: { averageValue: '100' } },
          },
        ],
      })
      const { annotations } = one<{ metadata: { annotations: Record<string, string> } }>(
        overlay,
        'Ingress',
      ).metadata
      const nginx = (name: string) => annotations[`nginx.ingress.kubernetes.io/${name}`]
      assert.deepEqual(
        ['proxy-read-timeout', 'proxy-send-timeout', 'proxy-buffering', 'affinity'].map(nginx),
        ['3600', '3600', 'off', undefined],
      )
      assert.ok(Number(nginx('limit-rps')) > 0)
      has(spec(overlay, 'Ingress'), { tls: [{ hosts: ['tunnel.example.com'] }] })
    }
    has(spec(overlay, 'StatefulSet', 'redis'), {
      replicas: isHa ? 3 : 1,
      volumeClaimTemplates: [{ spec: { resources: { requests: { storage: '10Gi' } } } }],
    })
    has(spec(overlay, 'Prometheus'), { retention: '15d' })
    assert.ok(names(overlay, 'PrometheusRule').length > 0 && names(overlay, 'Alertmanager').length > 0)
    const dashboards = all(overlay).filter(
      ({ kind, data }) =>
        kind === 'ConfigMap' && Object.keys(data as object).some((file) => /^tunnel-.*\.json$/.test(file)),
    )
    assert.ok(dashboards.length > 0, overlay)
    // The routes of Alertmanager, which its operator reads from one; what is secret is made by a script.
    assert.deepEqual(names(overlay, 'Secret'), ['tunnel-alertmanager'])
  }
  const conf = readFileSync(deploy('kubernetes/components/redis/redis.conf'), 'utf8')
  for (const line of ['appendonly yes', 'appendfsync everysec', 'maxmemory-policy noeviction'])
    assert.ok(conf.split('\n').includes(line), line)
})
