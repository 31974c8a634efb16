import type { Machine } from '../../client/machines.ts'
import type { EnrolmentCode } from '../../dial/enrolment.ts'
import { ask, askCode, askMachines } from '../api.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { accessFrom } from '../credentials.ts'
import type { Definition } from '../definition.ts'
import { EXIT, UsageError } from '../failure.ts'
import { checkMachine } from '../machine-name.ts'
import { age, duration, visible } from '../output.ts'
import { tell } from '../prose.ts'
import { table } from '../table.ts'
import { watch } from '../watch.ts'

export function machineTable(machines: Machine[]): string {
  if (machines.length === 0) return 'no machine yet: run `tunnel agent --machine NAME` on one\n'
  const rows = machines.map((machine) => [
    machine.shared === true ? `${machine.owner}/${machine.name}` : machine.name,
    machine.hostKeyChanged ? 'HOST KEY CHANGED' : machine.online ? 'on line' : 'off line',
    machine.since === undefined ? '-' : age(machine.since),
    streamsOf(machine),
    trialOf(machine),
    machine.sshUser,
    machine.source,
    machine.hostKeys[0]?.fingerprint ?? '-',
  ])
  const text = table([
    ['MACHINE', 'STATE', 'SINCE', 'STREAMS', 'TRIED', 'USER', 'SOURCE', 'HOST KEY'],
    ...rows,
  ])
  return [text, ...machines.flatMap(changeOf)].join('')
}

function changeOf({ name, shared, hostKeys, changedKeys = [] }: Machine): string[] {
  // Its owner alone can accept it.
  if (changedKeys.length === 0 || shared === true) return []
  const pinned = hostKeys.length === 0 ? 'none is pinned' : `${hostKeys.map(keyName).join(' and ')} is pinned`
  return [
    `\n${name} shows ${changedKeys.map(keyName).join(' and ')}, but ${pinned}.\n`,
    `Compare it on the machine (ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub), then: tunnel machines --trust ${name}\n`,
  ]
}

function streamsOf({ streams }: Machine): string {
  if (streams === undefined) return '-'
  return streams.waiting === 0 ? `${streams.open}` : `${streams.open}, ${streams.waiting} waiting`
}

function trialOf({ tried }: Machine): string {
  if (tried === undefined) return '-'
  return `${age(tried.at)} ago: ${tried.ok ? 'ok' : tried.code}`
}

export const definition: Definition = {
  name: 'machines',
  does: [
    'Lists your machines, and as OWNER/NAME those that others share with you: on line or not, since when, how many',
    'streams go there or wait for it to come back, when the proxy last tried to reach its SSH server, and the',
    'fingerprint of the host key.',
  ].join(' '),
  examples: [
    'tunnel machines',
    'tunnel machines --json',
    'tunnel machines --enroll home',
    'tunnel machines --trust home',
  ],
  options: [
    { flags: '--watch', does: 'show them again whenever something has changed, until Ctrl-C' },
    { flags: '--enroll <name>', does: 'make a code with which a machine gets the token of its agent' },
    {
      flags: '--trust <name>',
      does: 'accept the host key that this machine shows now, in place of the pinned one',
      values: 'machine',
    },
    {
      flags: '--forget <name>',
      does: 'remove this machine and its pinned host keys, and stop its agent',
      values: 'machine',
    },
  ],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const options = made.opts<
    CommonOptions & { trust?: string; forget?: string; enroll?: string; watch?: boolean }
  >()
  const { trust, forget, enroll } = options
  if ([trust, forget, enroll, options.watch].filter((given) => given !== undefined).length > 1)
    throw new UsageError('give --watch, --enroll, --trust or --forget, and no two of them')
  const access = accessFrom(options)
  const show = (value: unknown, text: string): number => {
    if (options.json === true) process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
    else tell(text)
    return EXIT.ok
  }
  if (trust !== undefined) {
    const { changedKeys } = await ask<Machine>(access, routeOf(trust))
    // No others than those that the person is told of, whatever the machine shows in between.
    const body = { hostKeys: changedKeys?.map(({ fingerprint }) => fingerprint) }
    const machine = await ask<Machine>(access, `${routeOf(trust)}/trust`, 'POST', body)
    return show(machine, `${trust} is known by ${machine.hostKeys.map(keyName).join(' and ')} from now on\n`)
  }
  if (forget !== undefined) {
    await ask(access, routeOf(forget), 'DELETE')
    return show({ forgotten: forget }, `${forget} is forgotten; its agent is stopped, if it was running\n`)
  }
  if (enroll !== undefined) {
    checkMachine(enroll)
    const made = await askCode(access, enroll)
    if (options.json === true) return show(made, '')
    const line = `  tunnel agent enroll ${visible(made.code)}${access.urls.map((url) => ` --url ${url}`).join('')}`
    tell(`Type this on ${enroll} within ${timeLeft(made)}; the code is good once:\n\n`)
    // To be pasted, and so not folded.
    process.stdout.write(`${line}\n\n`)
    return EXIT.ok
  }
  if (options.watch === true) {
    return watch({ look: () => askMachines(access), json: options.json === true, text: machineTable })
  }
  const machines = await askMachines(access)
  return show(machines, machineTable(machines))
}

function timeLeft({ expiresAt }: EnrolmentCode): string {
  return duration(Math.max(0, Date.parse(expiresAt) - Date.now() + 500))
}

function routeOf(machine: string): string {
  checkMachine(machine)
  return `machines/${encodeURIComponent(machine)}`
}

function keyName({ type, fingerprint }: Machine['hostKeys'][number]): string {
  return `${type} ${fingerprint}`
}
