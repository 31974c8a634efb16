import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { accessFrom } from '../credentials.ts'
import { EXIT } from '../failure.ts'
import { findProgram } from '../find-program.ts'
import { ALIVE_COUNT, hostAlias, hostOf, machineOfHost } from '../host-alias.ts'
import { checkMachineOf } from '../machine-name.ts'
import { environmentOf } from '../reach.ts'
import { proxyCommand } from '../self.ts'
import { definition, readSshArguments, type SshArguments } from '../ssh-arguments.ts'

export { definition } from '../ssh-arguments.ts'

export function sshArguments(given: SshArguments, machine: string, url: string): string[] {
  const stdio = ['stdio', hostOf(machine)]
  if (given.json === true) stdio.push('--json')
  if (given.verbose === true) stdio.push('--verbose')
  const alias = hostAlias(machine, url)
  // The first value of an option is the one that ssh takes.
  const options = [`ProxyCommand=${proxyCommand(stdio)}`]
  const ours = {
    HostKeyAlias: alias,
    // As well, so that a ControlPath or a `Host` section for a real host of that name is not shared.
    HostName: alias,
    // With a short ServerAliveInterval ssh would give up a session that the tunnel is about to resume.
    ServerAliveCountMax: ALIVE_COUNT,
  }
  for (const [name, value] of Object.entries(ours)) {
    const isGiven = new RegExp(`^(-o)?\\s*${name}[\\s=]`, 'i')
    if (!given.passOn.some((argument) => isGiven.test(argument))) options.push(`${name}=${value}`)
  }
  return [...options.flatMap((option) => ['-o', option]), ...given.passOn]
}

export async function run(argv: string[]): Promise<number> {
  const given = readSshArguments(argv)
  if (given.help === true) {
    ;(await import('../command.ts')).showHelp(definition)
    return EXIT.ok
  }
  if (given.showConfig === true) return (await import('./ssh-config.ts')).print(given, [])
  const access = accessFrom(given)
  if (given.machine === undefined) return runSsh(given.passOn, {})
  const machine = machineOfHost(given.machine)
  checkMachineOf(machine)
  // By environment and not by argument: what ssh starts is visible to everybody on this machine.
  const env: NodeJS.ProcessEnv = {
    ...environmentOf(access.given, process.env),
    TUNNEL_URL: access.urls.join(' '),
  }
  if (given.token !== undefined) env.TUNNEL_TOKEN = given.token
  if (access.context !== undefined) env.TUNNEL_CONTEXT = access.context
  if (access.profile !== undefined) env.TUNNEL_PROFILE = access.profile
  return runSsh(sshArguments(given, machine, access.urls[0]), env)
}

/** Node has it from 22.15 on; it returns only by throwing. */
type Execve = (file: string, args: readonly string[], env: NodeJS.ProcessEnv) => never

/** Runs ssh in our place: the terminal and its signals are ssh's, the status is passed on. */
async function runSsh(args: string[], more: NodeJS.ProcessEnv): Promise<number> {
  const env = { ...process.env, ...more }
  const file = findProgram('ssh')
  if (file === undefined) {
    throw new TunnelError('CONFIG_INVALID', 'the program ssh was not found: install the OpenSSH client', {
      hop: 'client',
    })
  }
  const execve = (process as { execve?: Execve }).execve
  if (execve !== undefined && process.platform !== 'win32') execve.call(process, file, ['ssh', ...args], env)
  const child = spawn(file, args, { stdio: 'inherit', env })
  // The terminal sends these to ssh as well; it decides what they mean.
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) process.on(signal, () => {})
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGUSR1'] as const) process.on(signal, () => child.kill(signal))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]))
    })
  })
}
