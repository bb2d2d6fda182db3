"""CrewAI. Set OPENAI_API_KEY; see github_tool.py for the account.

pip install 'valetkey[crewai]'    # in an environment of its own: it wants older packages than other frameworks
"""

from crewai import Agent, Crew, Task
from github_tool import list_repositories

from valetkey.integrations.crewai import PocketCrewAI

with PocketCrewAI(tools=[list_repositories]) as pocket:
    pocket.init("ann")  # prints the link, and waits for the person: a crew has nobody to talk to
    agent = Agent(
        role="Assistant",
        goal="Tell what they work on",
        backstory="You look.",
        llm="gpt-5.4-mini",
        tools=pocket.get_tools(),
    )
    task = Task(description="What do I work on?", expected_output="A sentence.", agent=agent)
    print(Crew(agents=[agent], tasks=[task]).kickoff())
