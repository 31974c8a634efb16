import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { SMTPServer } from 'smtp-server'
import { parse, stringify } from 'yaml'
import { webService } from '../plugins/forward/rig.ts'
import { makeCertificate } from '../support/certificate.ts'
import { mustRun, spawnProgram } from '../support/process.ts'
import { readAll, until } from '../support/proxy.ts'
import { freePort, requireSystem } from '../support/system.ts'
import { tempFolder } from '../support/tree.ts'
import { deploy, RULE_FILES, startPrometheus } from './prometheus.ts'

const PASSWORD = 'a password of the mail server'

interface AlertmanagerConfig {
  global: Record<string, string>
  route: Record<string, unknown>
  receivers: { email_configs?: Record<string, unknown>[] }[]
}
interface SlackMessage {
  channel: string
  attachments: { title: string; text: string }[]
}

/** A mail server that takes mail by STARTTLS from whoever knows the password. */
async function startMail(t: TestContext, certFile: string, keyFile: string) {
  const mails: string[] = []
  const server = new SMTPServer({
    cert: readFileSync(certFile),
    key: readFileSync(keyFile),
    onAuth: ({ password }, _session, done) =>
      password === PASSWORD ? done(null, { user: 'alertmanager' }) : done(new Error('wrong password')),
    onData: (stream, _session, done) =>
      void readAll(stream).then((mail) => {
        mails.push(String(mail))
        done()
      }),
  })
  server.on('error', () => {})
  server.listen(0, '127.0.0.1')
  await once(server.server, 'listening')
  t.after(() => server.close())
  return { mails, port: (server.server.address() as AddressInfo).port }
}

/** The shipped configuration, for these receivers. */
async function startAlertmanager(t: TestContext) {
  const certificate = await makeCertificate(t)
  assert.ok(certificate)
  const { certFile, keyFile } = certificate
  const folder = await tempFolder(t, 'alertmanager')
  const { mails, port: mailPort } = await startMail(t, certFile, keyFile)
  const slack: SlackMessage[] = []
  const slackAt = await webService(t, (request, response) => {
    void readAll(request).then((body) => {
      slack.push(JSON.parse(String(body)) as SlackMessage)
      response.end('ok')
    })
  })
  const config = parse(readFileSync(deploy('prometheus/alertmanager.yml'), 'utf8'), {
    merge: true,
  }) as AlertmanagerConfig
  const file = (name: string) => join(folder, name)
  config.global.smtp_smarthost = `localhost:${mailPort}`
  config.global.smtp_auth_password_file = file('smtp-password')
  config.global.slack_api_url_file = file('slack-url')
  Object.assign(config.route, { group_wait: '50ms', group_interval: '1s' })
  for (const { email_configs = [] } of config.receivers)
    for (const email of email_configs) email.tls_config = { ca_file: certFile }
  await writeFile(file('smtp-password'), PASSWORD)
  await writeFile(file('slack-url'), `http://${slackAt}/services/hook`)
  await writeFile(file('alertmanager.yml'), stringify(config, { aliasDuplicateObjects: false }))
  const port = await freePort()
  const program = spawnProgram(t, 'prometheus-alertmanager', [
    `--config.file=${file('alertmanager.yml')}`,
    `--storage.path=${file('data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
    '--cluster.listen-address=',
  ])
  await program.line(/Listening on/)
  return { mails, slack, address: `127.0.0.1:${port}` }
}

test('amtool takes the configuration of Alertmanager', { skip: requireSystem('amtool') }, async () => {
  await mustRun('amtool', ['check-config', deploy('prometheus/alertmanager.yml')])
})

test('a proxy that is gone is told of by mail and in Slack, and what follows from it is not', {
  skip: requireSystem('prometheus', 'prometheus-alertmanager', 'openssl'),
}, async (t) => {
  const { mails, slack, address } = await startAlertmanager(t)
  const folder = await tempFolder(t, 'rules')
  const rules = join(folder, 'now.rules.yaml')
  const text = readFileSync(RULE_FILES[0] ?? '', 'utf8')
  // Nobody waits for minutes here.
  await writeFile(rules, text.replaceAll(/^ *for: .*\n/gm, ''))
  const instance = `127.0.0.1:${await freePort()}`
  await startPrometheus(t, {
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: [rules],
    alerting: { alertmanagers: [{ static_configs: [{ targets: [address] }] }] },
    scrape_configs: [{ job_name: 'tunnel', static_configs: [{ targets: [instance] }] }],
  })
  await until(() => mails.length > 0 && slack.length > 0, 60_000)
  assert.match(mails[0] ?? '', /^Subject: FIRING TunnelDown \(1\)\r$/m)
  assert.match(mails[0] ?? '', /^To: oncall@example\.com\r$/m)
  assert.equal(slack[0]?.channel, '#tunnel')
  assert.equal(slack[0]?.attachments[0]?.title, 'FIRING TunnelDown (1)')
  assert.match(
    slack[0]?.attachments[0]?.text ?? '',
    new RegExp(`^${instance} does not answer\\s+docs/OPERATIONS\\.md#tunneldown$`),
  )

  const api = `http://${address}/api/v2/alerts`
  const labels = { alertname: 'TunnelEventLoopLate', severity: 'warning', job: 'tunnel' }
  const late = [instance, 'elsewhere:3001'].map((one) => ({
    labels: { ...labels, instance: one },
    annotations: { summary: `${one} is late` },
  }))
  const posted = await fetch(api, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(late),
  })
  assert.equal(posted.status, 200)
  const texts = () => slack.flatMap(({ attachments }) => attachments.map(({ text }) => text)).join('\n')
  await until(() => texts().includes('elsewhere:3001 is late'))
  assert.ok(!texts().includes(`${instance} is late`))
  assert.ok(!mails.some((mail) => mail.includes('TunnelEventLoopLate')))
})
