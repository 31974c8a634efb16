import { userInfo } from 'node:os'
import { join } from 'node:path'
import { homeFolder } from '../../config/folders.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { machineAsHost } from '../../protocol/codec/machine-host.ts'
import { askMachineNames } from '../api.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { refused } from '../contexts/client-file.ts'
import { type Access, accessFrom, DEFAULT_URL, isLoopback } from '../credentials.ts'
import type { Definition } from '../definition.ts'
import { EXIT } from '../failure.ts'
import { checkMachineOf } from '../machine-name.ts'
import { tell } from '../prose.ts'
import { updateFile } from '../replace-file.ts'
import { type Destination, joined, lineOfHost, machinesIn, section, split } from '../ssh-config/section.ts'
import { warn } from '../warning.ts'

export const definition: Definition = {
  name: 'ssh-config',
  does: [
    "Prints the section of ssh's configuration by which plain `ssh home`, scp, sftp, rsync, git, Ansible and editors go",
    'through the tunnel, or writes it into ~/.ssh/config. It has the machines that you name, or else all that the proxy lists;',
    'any other is reached as MACHINE.tunnel. The host key is filed under the name that `tunnel ssh` gives it.',
  ].join(' '),
  examples: ['tunnel ssh-config', 'tunnel ssh-config --write', 'tunnel ssh-config --write home nas'],
  arguments: [{ name: '[machine...]', does: 'to be called by its name alone', values: 'machine' }],
  options: [
    { flags: '--write', does: 'write it into ~/.ssh/config, between markers, in place of an earlier one' },
  ],
}

interface SshConfigFlags extends CommonOptions {
  write?: boolean
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const flags = made.opts<SshConfigFlags>()
  for (const machine of made.args) checkMachineOf(machine)
  const machines = [...new Set(made.args)]
  return flags.write === true ? write(flags, machines) : print(flags, machines)
}

/** Without names it prints what holds for all machines even where the proxy cannot be asked. */
export async function print(flags: CommonOptions, named: readonly string[]): Promise<number> {
  const access = accessFrom(flags)
  let machines = named
  if (named.length === 0) {
    try {
      machines = (await askMachineNames(access)).filter(mayStandAlone)
    } catch (error) {
      if (!(error instanceof TunnelError)) throw error
      warn(
        error.code,
        `no machine can be called by its name alone, for the proxy cannot be asked: ${error.message}`,
      )
    }
  }
  const text = section(machines, proxyOf(access, flags))
  process.stdout.write(flags.json === true ? `${JSON.stringify({ machines, section: text })}\n` : text)
  noteOnToken(access, flags)
  return EXIT.ok
}

async function write(flags: CommonOptions, named: readonly string[]): Promise<number> {
  const access = accessFrom(flags)
  const home = homeFolder()
  if (home === undefined) throw refused('there is no home folder with a ~/.ssh/config: set HOME')
  const file = join(home, '.ssh', 'config')
  const listed = named.length === 0 ? await askMachineNames(access) : []
  const notes: string[] = []
  let machines: string[] = []
  const changed = await updateFile(file, (before) => {
    // As bytes: whatever encoding the rest has, it stays as it is.
    const parts = split(before?.toString('latin1') ?? '')
    if (parts === undefined)
      throw refused(
        `${file}: of the two marks of \`tunnel ssh-config\` one is missing, or stands there twice`,
      )
    const [url] = access.urls
    const own = (machine: string) => lineOfHost(parts.before + parts.after, machineAsHost(machine))
    const isFree = (machine: string): boolean => {
      if (own(machine) === undefined) return true
      notes.push(
        `line ${own(machine)} of ${file} has another ${machine}: it is left as it is; use ${machine}.tunnel`,
      )
      return false
    }
    for (const machine of named) {
      if (own(machine) !== undefined)
        notes.push(`line ${own(machine)} of ${file} has a ${machineAsHost(machine)}, and comes first`)
    }
    const former = machinesIn(parts.ours, url)
    machines =
      named.length === 0
        ? listed.filter((name) => isFree(name) && (former.includes(name) || mayStandAlone(name)))
        : [...new Set([...named, ...former])]
    const ours = Buffer.from(section(machines, proxyOf(access, flags), parts.ours)).toString('latin1')
    return Buffer.from(joined(parts, ours), 'latin1')
  })
  if (flags.json === true) process.stdout.write(`${JSON.stringify({ file, changed, machines })}\n`)
  else tell(`${told(file, changed, machines, access)}\n`)
  for (const line of notes) warn('HOST_TAKEN', line)
  if (home !== accountHome())
    warn('OTHER_HOME', `ssh itself reads the file of the account's home folder, ${accountHome()}`)
  noteOnToken(access, flags)
  return EXIT.ok
}

function told(file: string, changed: boolean, machines: readonly string[], { urls }: Access): string {
  const hosts = machines.map(machineAsHost)
  const names = [...hosts, 'MACHINE.tunnel'].join(', ')
  const what = changed ? `${file} is written` : `${file} is as it should be already`
  return `${what}: ${names} by ${urls[0]}; try \`ssh ${hosts[0] ?? 'home.tunnel'}\``
}

/** What a proxy lists must not stand for another host, such as `github.com`, unless the person named it. */
function mayStandAlone(machine: string): boolean {
  return !machine.includes('.') && machine !== 'localhost'
}

function proxyOf({ urls, context, given }: Access, { url, profile }: CommonOptions): Destination {
  const options: string[] = []
  // A context brings its token along.
  if (context !== undefined) options.push('--context', context)
  const isDefault = urls.length === 1 && urls[0] === DEFAULT_URL
  if (context === undefined ? !isDefault : url !== undefined)
    options.push(...urls.flatMap((each) => ['--url', each]))
  if (profile !== undefined) options.push('--profile', profile)
  // What the context says it brings along, too.
  for (const { name, value } of given) if (name.startsWith('--')) options.push(name, value)
  return { urls, options, ...(context !== undefined && { context }) }
}

function noteOnToken({ urls, context }: Access, { token }: CommonOptions): void {
  if (context !== undefined || urls.every(isLoopback)) return
  const why = token === undefined ? '' : 'a token is not written there: '
  warn(
    'TOKEN_NOT_KEPT',
    `${why}programs without your environment need a context with the token: tunnel use NAME --url ${urls[0]}`,
  )
}

function accountHome(): string | undefined {
  try {
    return userInfo().homedir
  } catch {
    return undefined
  }
}
