//! The terminal: its other screen, its keys, its size.
//!
//! In: lines. Out: what the person in front of it wants. The terminal is as it was before when a
//! [`Screen`] is dropped.

use std::io::{self, Stdout, Write};
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Color, Print, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    self, Clear, ClearType, DisableLineWrap, EnableLineWrap, EnterAlternateScreen, LeaveAlternateScreen,
};
use crossterm::{execute, queue};

use super::table::{Line, Size, Tone};

/// How long a key is waited for before news of the proxy are looked for.
const KEY_WAIT: Duration = Duration::from_millis(50);

/// The size of a terminal that does not tell.
const SIZE_UNKNOWN: (u16, u16) = (80, 24);

/// What the person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Enough seen.
    Leave,
    /// The terminal has another size.
    Redraw,
    /// Nothing yet.
    Nothing,
}

/// The terminal, while it shows the table.
#[derive(Debug)]
pub(super) struct Screen {
    out: Stdout,
    colours: bool,
}

// === impl Screen ===

impl Screen {
    /// Takes the terminal over.
    pub(super) fn open() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let mut screen = Self { out: io::stdout(), colours: std::env::var_os("NO_COLOR").is_none() };
        execute!(screen.out, EnterAlternateScreen, DisableLineWrap, Hide)?;
        Ok(screen)
    }

    /// Its size now.
    pub(super) fn size(&self) -> Size {
        let (columns, rows) = terminal::size().unwrap_or(SIZE_UNKNOWN);
        Size { columns: columns.into(), rows: rows.into() }
    }

    /// Replaces what it shows, line by line, so that nothing flickers. A line is cleared before its
    /// text: after the last column the cursor stands on the last letter, and would clear that.
    pub(super) fn draw(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut below = 0;
        for (row, line) in (0_u16..).zip(lines) {
            queue!(self.out, MoveTo(0, row), Clear(ClearType::UntilNewLine))?;
            self.put(line)?;
            below = row.saturating_add(1);
        }
        if usize::from(below) < self.size().rows {
            queue!(self.out, MoveTo(0, below), Clear(ClearType::FromCursorDown))?;
        }
        self.out.flush()
    }

    fn put(&mut self, line: &Line) -> io::Result<()> {
        let colour = match line.tone {
            Tone::Plain | Tone::Head => None,
            Tone::Warning => Some(Color::Yellow),
            Tone::Bad => Some(Color::Red),
        };
        if let Some(colour) = colour.filter(|_| self.colours) {
            queue!(self.out, SetForegroundColor(colour))?;
        }
        if line.tone == Tone::Head {
            queue!(self.out, SetAttribute(Attribute::Bold))?;
        }
        queue!(self.out, Print(&line.text), SetAttribute(Attribute::Reset))
    }

    /// Waits a moment for a key or another size. In raw mode Ctrl-C is a key like others.
    pub(super) fn wish(&self) -> io::Result<Wish> {
        if !event::poll(KEY_WAIT)? {
            return Ok(Wish::Nothing);
        }
        Ok(wish_of(&event::read()?))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no care.
        let _ = execute!(self.out, Show, EnableLineWrap, LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

fn wish_of(event: &Event) -> Wish {
    match event {
        Event::Resize(_, _) => Wish::Redraw,
        Event::Key(key) if key.kind != KeyEventKind::Release => {
            let is_ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            let leaves = matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc);
            if leaves || is_ctrl_c { Wish::Leave } else { Wish::Nothing }
        }
        Event::Key(_) | Event::FocusGained | Event::FocusLost | Event::Mouse(_) => Wish::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn q_escape_and_ctrl_c_leave_and_nothing_else_does() {
        let key = |code, modifiers| wish_of(&Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Wish::Leave);
        assert_eq!(key(KeyCode::Esc, KeyModifiers::NONE), Wish::Leave);
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Wish::Leave);
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), Wish::Nothing);
        assert_eq!(wish_of(&Event::Resize(80, 24)), Wish::Redraw);
    }
}
