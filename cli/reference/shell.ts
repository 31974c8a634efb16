import { type Definition, namesOf, type OptionDefinition, optionsOf, type Values } from '../definition.ts'
import type { Entry } from './entries.ts'

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

export interface ShellOption {
  /** With their dashes. */
  names: string[]
  does: string
  /** What completes its value; '' for one that nothing does, undefined where it takes none. */
  values: Values | '' | undefined
  repeats: boolean
}

export interface ShellCommand {
  name: string
  summary: string
  options: ShellOption[]
  /** What completes the arguments, by position. */
  places: (Values | '')[]
  /** The last place stands for all that follow. */
  isOpenEnded: boolean
}

/** The commands as the scripts for shells need them. */
export function shellCommands(entries: readonly Entry[]): ShellCommand[] {
  return entries.map(({ summary, definition }) => {
    const second = entries.flatMap((entry) => {
      const [first, word] = entry.definition.name.split(' ')
      return first === definition.name && word !== undefined ? [word] : []
    })
    const { places, isOpenEnded } = placesOf(definition)
    return {
      name: definition.name,
      summary,
      options: [...optionsOf(definition).map(shellOption), HELP],
      places: places.length === 0 && second.length > 0 ? [second] : places,
      isOpenEnded,
    }
  })
}

const HELP: ShellOption = { names: ['-h', '--help'], does: 'show help', values: undefined, repeats: false }

function shellOption(option: OptionDefinition): ShellOption {
  const { short, long, value } = namesOf(option)
  return {
    names: [...(short === undefined ? [] : [`-${short}`]), `--${long}`],
    does: option.does,
    values: value === undefined ? undefined : (option.values ?? ''),
    repeats: option.repeats === true,
  }
}

function placesOf({ arguments: places = [] }: Definition): Pick<ShellCommand, 'places' | 'isOpenEnded'> {
  return {
    places: places.map(({ values }) => values ?? ('' as const)),
    isOpenEnded: places.at(-1)?.name.includes('...') === true,
  }
}

/** A kind as one word that a script can tell apart: words stand behind `=`. */
export function kindOf(values: Values | ''): string {
  return typeof values === 'string' ? values : `=${values.join(' ')}`
}

/** One word between single quotes, for all three shells: what we write has no quote in it that is not spelt so. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
