import type { DiagnosticName, DiagnosticReport, DiagnosticStep } from '../../client/diagnostics/report.ts'
import { TunnelService } from '../../client/index.ts'
import { type CommonOptions, command, parse, parseTarget } from '../command.ts'
import { accessFrom } from '../credentials.ts'
import type { Definition } from '../definition.ts'
import { EXIT } from '../failure.ts'
import { checkMachineOf } from '../machine-name.ts'
import { canShow, columnsOf, paint, visible } from '../output.ts'
import { fold, tell } from '../prose.ts'
import { clientSettings } from '../reach.ts'

/** What the shell is told of the first step that fails; `docs/CONFIGURATION.md` lists the same. */
export const STATUS: Record<DiagnosticName, number> = {
  dns: 11,
  tcp: 12,
  'http-proxy': 13,
  tls: 14,
  upgrade: 15,
  authentication: 16,
  hello: 17,
  'round-trip': 18,
  agent: 21,
  sshd: 22,
  'host-key': 23,
  'ssh-authentication': 24,
  request: 25,
  throughput: 26,
}

export const definition: Definition = {
  name: 'diagnose',
  usage: '[options] [MACHINE [HOST:PORT]]',
  does: [
    'Tests every hop in order, on a link of its own: the name of the proxy, TCP, TLS, the WebSocket, the token,',
    'the round trip; and with a machine its agent, its SSH server, the host key, whether the proxy can log in',
    'there, a real request, and the throughput. It says which hop fails first, and what to do.',
  ].join(' '),
  examples: [
    'tunnel diagnose',
    'tunnel diagnose home',
    'tunnel diagnose home 127.0.0.1:8080 --json',
    'tunnel diagnose home --bundle for-support.json',
  ],
  arguments: [
    { name: '[machine]', does: 'its name', values: 'machine' },
    { name: '[host:port]', does: 'a service that the machine reaches, for the real request' },
  ],
  options: [
    {
      flags: '--bundle <file>',
      does: 'also write the report, versions, settings and names of variables to a file for whoever helps; no secret is in it',
    },
  ],
  notes: [
    [
      'Exit status: 0 when nothing failed (a warning is not a failure), else that of the first hop that did:',
      ...columns(Object.entries(STATUS).map(([name, status]) => `${status} ${name}`)),
    ].join('\n'),
  ],
}

function columns(words: string[]): string[] {
  const rows: string[] = []
  for (let at = 0; at < words.length; at += 4)
    rows.push(
      `  ${words
        .slice(at, at + 4)
        .map((word) => word.padEnd(23))
        .join('')
        .trimEnd()}`,
    )
  return rows
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const options = made.opts<CommonOptions & { bundle?: string }>()
  const [machine, address] = made.args
  if (machine !== undefined) checkMachineOf(machine)
  const target = address === undefined ? undefined : parseTarget(address)
  const access = accessFrom(options)
  const { urls, token } = access
  // Not over the link of `tunnel up`: what is to be found out is whether another can be made.
  const tunnel = new TunnelService({ url: urls, token, resolvedSettings: await clientSettings(access) })
  const show = options.json === true ? () => {} : (step: DiagnosticStep) => process.stdout.write(lineOf(step))
  const report = await tunnel.runDiagnostics({
    ...(machine !== undefined && { machine }),
    ...(target !== undefined && { target }),
    onStep: show,
  })
  if (options.bundle !== undefined) {
    const { writeSupportBundle } = await import('../support-bundle.ts')
    await writeSupportBundle(options.bundle, access, report)
  }
  const { firstFailure } = report
  const exitStatus = firstFailure === undefined ? EXIT.ok : STATUS[firstFailure.name]
  if (options.json === true) process.stdout.write(`${JSON.stringify({ ...report, exitStatus }, null, 2)}\n`)
  else tell(`\n${conclusion(report, machine)}\n`)
  return exitStatus
}

const MARKS = {
  ok: ['✓', 'ok'],
  warning: ['!', 'WARN'],
  failed: ['✗', 'FAILED'],
  skipped: ['–', '-'],
} as const
const NAME_COLUMNS = 19

function lineOf({ name, status, ms, detail, suggestion, address, code }: DiagnosticStep): string {
  const colours = paint(process.stdout)
  const [sign, word] = MARKS[status]
  const mark = canShow(sign) ? sign : word.padEnd(6)
  const colour = {
    ok: colours.green,
    warning: colours.yellow,
    failed: colours.red,
    skipped: colours.dim,
  }[status]
  const took = status === 'skipped' || ms < 0.05 ? '' : ` (${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms)`
  const where = address === undefined ? '' : ` [${address}]`
  const text = `${name.padEnd(NAME_COLUMNS)}${visible(detail)}${code === undefined ? '' : ` (${code})`}${took}${where}`
  const hang = Math.min(mark.length + 1 + NAME_COLUMNS, Math.floor(columnsOf() / 3))
  const advice = suggestion ? `${' '.repeat(hang)}${visible(suggestion)}\n` : ''
  const line = `${colour(mark)} ${status === 'skipped' ? colours.dim(text) : text}\n`
  return fold(line, columnsOf(), hang) + fold(advice, columnsOf())
}

function conclusion({ firstFailure, steps }: DiagnosticReport, machine: string | undefined): string {
  if (firstFailure !== undefined)
    return `The first hop that fails: ${firstFailure.name} (${firstFailure.hop}).`
  const where = machine ?? 'the proxy'
  const warning = steps.find(({ status }) => status === 'warning')
  return warning === undefined
    ? `The way to ${where} is good.`
    : `The way to ${where} works, but not as it should: ${warning.name}.`
}
