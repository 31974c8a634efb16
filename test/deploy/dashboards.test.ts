import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { parse } from 'yaml'
import { webService } from '../plugins/forward/rig.ts'
import { makeCertificate } from '../support/certificate.ts'
import { readAll, startProxy, until } from '../support/proxy.ts'
import { requireSystem, startSshd } from '../support/sshd.ts'
import { tempFolder } from '../support/tree.ts'
import { deploy, RULE_FILES, startPrometheus } from './prometheus.ts'

const TOKEN = 'a-token-for-prometheus'

/** What has no series while all is well, and why. */
const NOTHING_IN_HEALTH: Record<string, string> = {
  'absent(up': 'there are proxies',
  'code="POOL_EXHAUSTED"': 'no request waited in vain',
  'code="STATE_UNAVAILABLE"': 'the state is there',
  tunnel_rate_limited_total: 'nobody asked for too much',
  tunnel_circuit_transitions_total: 'no circuit has opened',
}
const reasonOf = (expr: string) => Object.keys(NOTHING_IN_HEALTH).find((part) => expr.includes(part))

/** prometheus.yml, as far as a test puts other places into it. */
interface Shipped {
  scrape_configs: [{ authorization: object }]
}

/** Of every panel, as Grafana fills in its variables. */
function panelQueries(): string[] {
  const folder = deploy('grafana/dashboards')
  return readdirSync(folder).flatMap((name) => {
    const { panels } = JSON.parse(readFileSync(join(folder, name), 'utf8')) as {
      panels: { targets?: { expr: string }[] }[]
    }
    return panels.flatMap(({ targets = [] }) =>
      targets.map(({ expr }) =>
        expr.replaceAll('$job', 'tunnel').replaceAll('$instance', '.*').replaceAll('$__rate_interval', '1m'),
      ),
    )
  })
}

/** Of every rule; an alert's comparisons answer 0 or 1, where they would leave out what is well. */
function ruleQueries(): string[] {
  return RULE_FILES.flatMap((file) => {
    const { groups } = parse(readFileSync(file, 'utf8')) as { groups: { rules: { expr: string }[] }[] }
    return groups.flatMap(({ rules }) =>
      rules.map(({ expr }) => expr.replaceAll(/ (==|>=|<) | (>) /g, ' $1$2 bool ')),
    )
  })
}

/** A proxy with an agent before a real sshd, and one round of what users do and fail to do. */
async function startLoad(t: TestContext) {
  const [proxy, sshd] = await Promise.all([startProxy(t, { set: [`metrics.token=${TOKEN}`] }), startSshd(t)])
  await proxy.startAgent('home', 'alice', sshd)
  const tunnel = await proxy.connect('alice', {
    settings: { heartbeat: { intervalMs: 200, timeoutMs: 5_000 }, backoff: { baseMs: 20, maxMs: 200 } },
  })
  const service = await webService(t, (_request, response) => void response.end('here'))
  const sealed = await tunnel.open({ machine: 'home', kind: 'ssh' })
  let resumes = 0
  tunnel.on('resumed', () => resumes++)
  const round = async (): Promise<void> => {
    const answer = await tunnel.fetch(`http://home:${service.split(':')[1]}/`)
    assert.equal(await answer.text(), 'here')
    assert.equal((await tunnel.exec('home', ['true'])).exitCode, 0)
    const brief = await tunnel.open({ machine: 'home', kind: 'ssh' })
    brief.end()
    await readAll(brief)
    await assert.rejects(tunnel.open({ machine: 'nowhere', kind: 'ssh' }), { code: 'MACHINE_UNKNOWN' })
    assert.equal((await proxy.api(undefined, 'machines', { token: 'none.of.ours' })).status, 401)
    const before = resumes
    proxy.cut('client')
    await until(() => resumes > before)
  }
  sealed.on('error', () => {})
  return { proxy, round }
}

test('every query of a panel or a rule gives data of a proxy that is used', {
  skip: requireSystem('prometheus', 'sshd', 'openssl'),
}, async (t) => {
  const certificate = await makeCertificate(t)
  assert.ok(certificate)
  const { certFile, keyFile } = certificate
  const tls = [`server.tls.cert=${certFile}`, `server.tls.key=${keyFile}`]
  const [{ proxy, round }, withTls] = await Promise.all([
    startLoad(t),
    startProxy(t, { set: [`metrics.token=${TOKEN}`, ...tls] }),
  ])
  // The shipped configuration, with other places, and a second in place of fifteen.
  const shipped = parse(readFileSync(deploy('prometheus/prometheus.yml'), 'utf8')) as Shipped
  const [scraped] = shipped.scrape_configs
  assert.equal(shipped.scrape_configs.length, 1)
  const tokenFile = join(await tempFolder(t, 'token'), 'metrics-token')
  await writeFile(tokenFile, TOKEN)
  Object.assign(scraped.authorization, { credentials_file: tokenFile })
  const prometheus = await startPrometheus(t, {
    ...{ ...shipped, rule_files: RULE_FILES, alerting: undefined },
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    scrape_configs: [
      { ...scraped, static_configs: [{ targets: [`127.0.0.1:${proxy.port}`] }] },
      {
        ...{ ...scraped, job_name: 'tunnel-tls', scheme: 'https' },
        tls_config: { ca_file: certFile, server_name: 'localhost' },
        static_configs: [{ targets: [`127.0.0.1:${withTls.port}`] }],
        relabel_configs: [{ target_label: 'job', replacement: 'tunnel' }],
      },
    ],
  })
  const queries = [...panelQueries(), ...ruleQueries()]
  assert.ok(queries.length > 100)
  const hasData = async (expr: string): Promise<boolean> => {
    const samples = await prometheus.query(expr)
    return samples.some(({ value: [, number] }) => Number.isFinite(Number(number)))
  }
  // What happens once has to happen between two scrapes.
  await until(() => hasData('min(up) == 1 and count(up) == 2'))
  const without = new Set(queries.filter((expr) => reasonOf(expr) === undefined))
  try {
    await until(async () => {
      await round()
      for (const expr of without) if (await hasData(expr)) without.delete(expr)
      return without.size === 0
    }, 120_000)
  } catch {
    assert.deepEqual([...without], [])
  }
  for (const expr of queries)
    if (reasonOf(expr) !== undefined) assert.equal(await hasData(expr), false, `${expr} has data`)
  for (const part of Object.keys(NOTHING_IN_HEALTH))
    assert.ok(
      queries.some((expr) => expr.includes(part)),
      part,
    )
})
