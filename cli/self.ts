import { fileURLToPath } from 'node:url'
import { shellWord } from '../client/shell-words.ts'

const MAIN = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './main.ts' : './main.cjs', import.meta.url),
)

/** The command line that runs this very program again, whatever runs it now (node, or node with tsx). */
export function selfCommand(): string[] {
  const options: string[] = []
  for (let index = 0; index < process.execArgv.length; index++) {
    const option = process.execArgv[index]!
    // Debuggers and the test runner's own options belong to this process alone.
    if (option.startsWith('--inspect') || option.startsWith('--test')) continue
    options.push(option)
    const previous = process.execArgv[index - 1]
    // A bare package name would be looked for from the working directory of the child.
    if (previous === '--import' && /^[a-z@]/.test(option) && !option.includes(':')) {
      options[options.length - 1] = import.meta.resolve(option)
    }
  }
  return [process.execPath, ...options, MAIN]
}

/** A command of ours as the value of ssh's ProxyCommand: ssh expands % itself and hands the rest to a shell. */
export function proxyCommand(words: readonly string[]): string {
  return [...selfCommand(), ...words].map(shellWord).join(' ').replaceAll('%', '%%')
}

/** How a person calls this program: through npx in its folder, or by its name where it is installed. */
export function calledAs(env: NodeJS.ProcessEnv = process.env): string {
  return env.npm_lifecycle_event === undefined ? 'tunnel' : 'npx tunnel'
}
